// Package watcher follows one Secret of one cluster: the source, and, where it
// is handed to package clusters, a remote's copy.
//
// Its calls say only that something changed; what was seen last is there to be
// asked for. It decides nothing and writes nothing.
package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
)

// Secrets is what a watcher needs of a cluster's client; the Secrets of one
// namespace in client-go are one. Requests have no deadline of their own.
type Secrets interface {
	Get(context.Context, string, metav1.GetOptions) (*corev1.Secret, error)
	List(context.Context, metav1.ListOptions) (*corev1.SecretList, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// Options are a watcher's. All but Parse and Timeout may be zero.
type Options[T any] struct {
	// Parse judges what was seen; nil is an absent Secret. It may keep the Secret.
	Parse func(*corev1.Secret) T
	// Timeout bounds a GET, a LIST, and the wait for a WATCH's answer.
	Timeout time.Duration
	// Poll is how often Run reads the Secret with GET, whatever the watch says;
	// jittered. 0: never, for those who do it themselves.
	Poll time.Duration
	// Changed is called after each change of what is seen, except one by Wrote, and,
	// without Poll, when it came in stale. Like the other calls it must neither
	// block nor call the watcher.
	Changed func()
	// Connected is called when the cluster has answered a LIST or a WATCH.
	Connected func()
	// TimedOut is called when a request found no answer in time. It may close connections.
	TimedOut func()
	Log      *slog.Logger
}

// Watcher knows what was last seen of a Secret. Its methods may be called
// concurrently; Run only once.
//
// Three voices speak of the Secret. A GET is the truth of its moment, also
// where its resourceVersion is lower: an etcd restore rewinds. The answer to
// our own write is newer than what it was made on. The watch lags behind both,
// so it counts from the moment that it has caught up with them.
type Watcher[T any] struct {
	secrets Secrets
	name    string
	opts    Options[T]

	// turn lets one GET through at a time, so that a later one is a later
	// truth. Whoever has it may use last.
	turn chan struct{}
	last result[T]

	mu      sync.Mutex
	started uint64 // GETs begun
	seen    T
	read    bool
	version string // of what is seen; "" where that is unknown
	changes uint64 // made by the watch
	stale   bool
	broken  bool   // the watch, at its last try
	err     error  // of the last GET
	absent  bool   // what is seen is that there is none
	restart func() // has the watch begin anew; nil while there is none
	// missed is since when a GET has known what the watch has not brought; zero
	// where there is no such thing.
	missed time.Time

	poke    chan struct{} // has poll read at once
	rewatch chan struct{} // has Run try a forbidden watch again
}

type result[T any] struct {
	number uint64
	seen   T
	err    error
}

// New makes a watcher of the named Secret. It sees nothing before Run or Get.
func New[T any](secrets Secrets, name string, opts Options[T]) *Watcher[T] {
	nothing := func() {}
	for _, f := range []*func(){&opts.Changed, &opts.Connected, &opts.TimedOut} {
		if *f == nil {
			*f = nothing
		}
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher[T]{secrets: secrets, name: name, opts: opts,
		turn: make(chan struct{}, 1), poke: make(chan struct{}, 1), rewatch: make(chan struct{}, 1)}
}

// Seen is what was seen last, T's zero value where nothing was. It is fresh
// unless there is reason to read the Secret again with Get.
func (w *Watcher[T]) Seen() (seen T, fresh bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen, w.read && !w.stale
}

// Read says whether the Secret, or its absence, was ever seen.
func (w *Watcher[T]) Read() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read
}

// Err is why the Secret could not be read at the last try; nil if it could.
func (w *Watcher[T]) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Get reads the Secret from the cluster, never from a cache, by a request that
// begins after the call does; callers that wait at the same time share one. It
// returns what is seen then. An absent Secret is no error.
func (w *Watcher[T]) Get(ctx context.Context) (T, error) {
	w.mu.Lock()
	arrived := w.started
	w.mu.Unlock()
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		seen, _ := w.Seen()
		return seen, ctx.Err()
	}
	if w.last.number > arrived && !errors.Is(w.last.err, context.Canceled) {
		return w.last.seen, w.last.err
	}
	w.mu.Lock()
	w.started++
	number, before := w.started, w.changes
	w.mu.Unlock()

	var secret *corev1.Secret
	err := w.timed(ctx, func(ctx context.Context) (err error) {
		// No resourceVersion: the API server asks etcd.
		secret, err = w.secrets.Get(ctx, w.name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		secret, err = nil, nil
	}
	seen := w.got(secret, err, before)
	w.last = result[T]{number, seen, err}
	return seen, err
}

// timed runs a request with a deadline, and says so where it passed without an answer.
func (w *Watcher[T]) timed(ctx context.Context, request func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, w.opts.Timeout)
	defer cancel()
	err := request(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		w.opts.TimedOut()
	}
	return err
}

// got takes the answer to a GET. What the watch brought while it was under way
// stands if it is newer.
func (w *Watcher[T]) got(secret *corev1.Secret, err error, before uint64) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.fail(fmt.Errorf("reading Secret %s: %w", w.name, err))
		return w.seen
	}
	if w.err != nil {
		w.opts.Log.Info("the Secret can be read again")
		select {
		case w.rewatch <- struct{}{}:
		default:
		}
	}
	w.err, w.stale = nil, false
	during := w.changes != before
	if !during {
		w.listen(secret)
	}
	if !during || secret == nil || !newer(w.version, secret.ResourceVersion) {
		w.set(secret, versionOf(secret))
	}
	if during && secret == nil { // an absence has no version: which was first is not known
		w.markStale()
	}
	return w.seen
}

// listen has the watch begin anew where a GET tells that it is deaf. After a
// restore of etcd a watch that began before it brings nothing until the versions
// have grown past where it stands. w.mu is held.
func (w *Watcher[T]) listen(secret *corev1.Secret) {
	version, now := versionOf(secret), time.Now()
	switch {
	case w.restart == nil: // there is no watch
		return
	case newer(w.version, version):
		w.opts.Log.Warn("the resourceVersion went back: was etcd restored?", "from", w.version, "to", version)
	case !w.missed.IsZero() && now.Sub(w.missed) > deafAfter:
		w.opts.Log.Warn("the watch has not brought what a GET has found, and begins anew")
	default:
		if w.missed.IsZero() && (w.absent != (secret == nil) || secret != nil && version != w.version) {
			w.missed = now
		}
		return
	}
	w.missed = time.Time{}
	w.restart()
}

// fail notes an error, and logs it when its text is another. w.mu is held.
func (w *Watcher[T]) fail(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if w.err == nil || w.err.Error() != err.Error() {
		w.opts.Log.Warn("the Secret cannot be read", "error", err)
	}
	w.err = err
}

// Wrote takes the answer to a write that was made on what is seen. It is no news
// to the writer, so Changed is not called.
func (w *Watcher[T]) Wrote(secret *corev1.Secret) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !newer(w.version, secret.ResourceVersion) {
		w.take(secret, secret.ResourceVersion)
	}
}

// set takes what was seen, and calls Changed where that is news. w.mu is held.
func (w *Watcher[T]) set(secret *corev1.Secret, version string) {
	if w.take(secret, version) {
		w.opts.Changed()
	}
}

// take takes what was seen, and returns whether it is news. w.mu is held.
func (w *Watcher[T]) take(secret *corev1.Secret, version string) bool {
	if w.read && version == w.version {
		return false
	}
	w.seen, w.read, w.version, w.absent = w.opts.Parse(secret), true, version, secret == nil
	return true
}

func versionOf(secret *corev1.Secret) string {
	if secret == nil {
		return ""
	}
	return secret.ResourceVersion
}

// newer says whether a is surely a newer resourceVersion than b.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
