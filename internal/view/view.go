// Package view decides which of three answers about one Secret counts: a
// GET's, the watch's, or that of a write of our own.
//
// It sends no request and knows no clock.
package view

import (
	"cmp"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// DeafAfter is how long a watch may take to bring what is known already.
const DeafAfter = 5 * time.Second

// View is a Secret as it was last seen, parsed. Its methods may be called
// concurrently.
//
// A GET's answer is the truth of its moment, also where its resourceVersion is
// lower: an etcd restore rewinds. The answer to our own write is newer than
// what it was made on. The watch lags behind both, so an event counts only
// where it is not older than what is known.
type View[T any] struct {
	parse func(last T, secret *corev1.Secret) T

	mu      sync.Mutex
	value   T
	read    bool
	absent  bool
	stale   bool
	version string // "" where a GET has found that the Secret is gone
	events  uint64 // taken from the watch
	// missed is since when something is known that the watch has not brought; zero
	// where it has brought all.
	missed time.Time
}

// New makes a view that has seen nothing. Parse gets what was seen last, T's zero
// value at first, and the Secret, nil for an absent one, which it may keep.
func New[T any](parse func(last T, secret *corev1.Secret) T) *View[T] {
	return &View[T]{parse: parse}
}

// Get returns the Secret as last seen, T's zero value where it never was, and
// whether that can be relied on without a GET.
func (v *View[T]) Get() (value T, fresh bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value, v.read && !v.stale
}

// Read says whether the Secret, or its absence, was ever seen.
func (v *View[T]) Read() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.read
}

// Missed says whether something is known that the watch has not brought.
func (v *View[T]) Missed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.missed.IsZero()
}

// MarkStale has Get say that a GET is needed, until there was one.
func (v *View[T]) MarkStale() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stale = true
}

// Watched takes what the watch brought, nil for a deletion or an absence at
// that version, and says whether it is news.
func (v *View[T]) Watched(secret *corev1.Secret, version string) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.read && newer(v.version, version) {
		return false
	}
	v.events++
	v.missed = time.Time{}
	return v.set(secret, version)
}

// Wrote takes the answer to a write that was made on what was seen.
func (v *View[T]) Wrote(secret *corev1.Secret, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !newer(v.version, secret.ResourceVersion) && v.set(secret, secret.ResourceVersion) {
		v.miss(now)
	}
}

// Reading is a GET on its way.
type Reading[T any] struct {
	view   *View[T]
	events uint64
}

// Begin is called before a GET is sent.
func (v *View[T]) Begin() Reading[T] {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Reading[T]{v, v.events}
}

// Answered takes the answer to the GET, nil for NotFound. What the watch
// brought meanwhile stands if it is newer. It says whether the answer is news,
// and whether the watch is deaf: it began before the version went back, or has
// not brought in time what was known before this GET.
func (r Reading[T]) Answered(secret *corev1.Secret, now time.Time) (value T, changed, deaf bool) {
	v := r.view
	v.mu.Lock()
	defer v.mu.Unlock()
	version := ""
	if secret != nil {
		version = secret.ResourceVersion
	}
	overtaken := v.events != r.events
	v.stale = overtaken && secret == nil // an absence has no version: which was first is not known
	deaf = !v.missed.IsZero() && now.Sub(v.missed) > DeafAfter
	if !overtaken || secret == nil || !newer(v.version, version) {
		deaf = deaf || !overtaken && newer(v.version, version)
		if changed = v.set(secret, version); changed && !overtaken {
			v.miss(now)
		}
	}
	if deaf { // another watch is to begin
		v.missed = time.Time{}
	}
	return v.value, changed, deaf
}

func (v *View[T]) miss(now time.Time) {
	if v.missed.IsZero() {
		v.missed = now
	}
}

// set takes what was seen, and says whether it is news.
func (v *View[T]) set(secret *corev1.Secret, version string) (changed bool) {
	if v.read && v.absent && secret == nil { // at another version, or by a GET, at none
		v.version = cmp.Or(version, v.version)
		return false
	}
	if v.read && version == v.version {
		return false
	}
	v.value, v.read, v.absent, v.version = v.parse(v.value, secret), true, secret == nil, version
	return true
}

// newer says whether a is surely a newer resourceVersion than b.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
