// Package view combines three sources of information about one Secret: GET responses, watch
// events, and responses to our own writes.
//
// It sends no requests and does not read the clock.
package view

import (
	"cmp"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// DeafAfter is how long a watch may take to deliver a version that is already known. After that,
// the watch counts as deaf.
const DeafAfter = 5 * time.Second

// View holds the last known, parsed version of a Secret. Its methods are safe for
// concurrent use.
//
// A GET response always counts, even if its resourceVersion is lower, because restoring etcd
// rewinds versions. The response to our own write counts as newer than the version on which the
// write was based. The watch can lag behind both, so an event counts only if it is not older than
// the known version.
type View[T any] struct {
	parse func(last T, secret *corev1.Secret) T

	mu      sync.Mutex
	value   T
	read    bool
	absent  bool
	version string // "" if a GET found that the Secret does not exist
	// confirmed is when a GET or, since then, the watch has shown that value is current. It is zero
	// before the first GET, and after the watch may have missed a change.
	confirmed time.Time
	events    uint64 // number of accepted watch events
	// missed is when the view learned of a change that the watch has not delivered yet. It is zero
	// if the watch is up to date.
	missed time.Time
}

// New returns an empty View. parse receives the previous value, initially the zero T, and
// the Secret, which is nil if absent. It may retain the Secret.
func New[T any](parse func(last T, secret *corev1.Secret) T) *View[T] {
	return &View[T]{parse: parse}
}

// Get returns the last known value, or the zero T if there is none, and when a GET or the watch last
// confirmed it. The time is zero if the value can't be relied on without a GET.
func (v *View[T]) Get() (value T, confirmed time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value, v.confirmed
}

// Read reports whether the view has ever seen the Secret or its absence.
func (v *View[T]) Read() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.read
}

// Missed reports whether the watch has yet to deliver a change that is already known.
func (v *View[T]) Missed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.missed.IsZero()
}

// MarkStale makes Get return the zero time until the next GET.
func (v *View[T]) MarkStale() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.confirmed = time.Time{}
}

// Progressed records that the watch has delivered everything up to a version that is newer
// than all versions before. That confirms the value, unless the value is stale or the watch
// has yet to deliver something that is already known.
func (v *View[T]) Progressed(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.confirmed.IsZero() && v.missed.IsZero() {
		v.confirmed = now
	}
}

// Watched records a watch event or the result of a list, and reports whether it changed the view. A
// nil secret means that at this version the Secret was deleted or absent from the list.
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

// Wrote records the response to our own write, which was based on the last known version.
func (v *View[T]) Wrote(secret *corev1.Secret, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !newer(v.version, secret.ResourceVersion) && v.set(secret, secret.ResourceVersion) {
		v.miss(now)
	}
}

// Reading is a GET in progress.
type Reading[T any] struct {
	view   *View[T]
	events uint64
}

// Begin starts a Reading. Call it before sending the GET.
func (v *View[T]) Begin() Reading[T] {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Reading[T]{v, v.events}
}

// Answered records the response to the GET. A nil secret means NotFound. A newer version that the
// watch delivered during the GET stays in place.
//
// Answered reports whether the response changed the view and whether the watch is deaf: it
// started before the version went back, or it has not delivered an already known version
// within DeafAfter.
func (r Reading[T]) Answered(secret *corev1.Secret, now time.Time) (value T, changed, deaf bool) {
	v := r.view
	v.mu.Lock()
	defer v.mu.Unlock()
	version := ""
	if secret != nil {
		version = secret.ResourceVersion
	}
	overtaken := v.events != r.events
	if v.confirmed = now; overtaken && secret == nil { // NotFound has no version, so it may be older than the event
		v.confirmed = time.Time{}
	}
	deaf = !v.missed.IsZero() && now.Sub(v.missed) > DeafAfter
	if !overtaken || secret == nil || !newer(v.version, version) {
		deaf = deaf || !overtaken && newer(v.version, version)
		if changed = v.set(secret, version); changed && !overtaken {
			v.miss(now)
		}
	}
	if deaf { // the caller restarts the watch
		v.missed = time.Time{}
	}
	return v.value, changed, deaf
}

func (v *View[T]) miss(now time.Time) {
	if v.missed.IsZero() {
		v.missed = now
	}
}

// set stores the Secret, or its absence, and reports whether that changed the view.
func (v *View[T]) set(secret *corev1.Secret, version string) (changed bool) {
	if v.read && v.absent && secret == nil { // still absent; version is "" after a GET
		v.version = cmp.Or(version, v.version)
		return false
	}
	if v.read && version == v.version {
		return false
	}
	v.value, v.read, v.absent, v.version = v.parse(v.value, secret), true, secret == nil, version
	return true
}

// newer reports whether resourceVersion a is newer than b. It returns false if they cannot be
// compared.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
