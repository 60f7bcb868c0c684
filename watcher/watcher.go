// Package watcher watches the source Secret. Its Watcher reports changes and returns the last known
// state.
//
// It makes no decisions and writes nothing.
package watcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/logonce"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/view"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// retryMin and retryMax bound the delay before a failed GET is retried.
	retryMin = 200 * time.Millisecond
	retryMax = 2 * time.Second
	// unwatchedPoll is the interval between reads of the source while the watch doesn't work.
	unwatchedPoll = 500 * time.Millisecond
	// resyncJitter spreads the GETs of many replicas over time.
	resyncJitter = 0.2
)

// Secrets is the part of the source cluster's client that a Watcher needs.
type Secrets interface {
	kube.Watchable
	Get(ctx context.Context, name string) (*corev1.Secret, error)
}

// Options configure a [Watcher]. All except Resync are required.
type Options struct {
	Secrets Secrets
	Name    string
	// Parse derives the next Source from the last one and the Secret, which is nil if absent.
	Parse func(last mirror.Source, secret *corev1.Secret) mirror.Source
	// Resync is the interval, before jitter, at which Run reads the Secret with GET even if the
	// informer works. 0 disables these reads.
	Resync time.Duration
	Log    *slog.Logger
}

// A Watcher keeps the last known state of the source. Its methods are safe for concurrent use, but
// Run can be called only once.
type Watcher struct {
	opts    Options
	view    *view.View[mirror.Source]
	gets    coalesced
	trouble logonce.Text // error of the last GET; used only by the running GET
	lists   *kube.ListWatch
	poke    chan struct{} // makes Run read immediately

	mu      sync.Mutex
	changed func() // passed to Run
	err     error  // error of the last GET
	watch   watchState
}

// watchState is the state of the current informer. Watcher.mu guards it.
type watchState struct {
	restart func()      // ends the informer, so that the next one starts; nil before the first one starts
	alive   func() bool // reports whether the informer's watch has delivered anything
	stalled bool        // a watch missed a change that a GET found, and no watch has delivered anything since
}

// silent is the initial value of watchState.alive: nothing has been delivered yet.
func silent() bool { return false }

// New returns a Watcher that hasn't seen the source yet.
func New(opts Options) *Watcher {
	w := &Watcher{opts: opts, view: view.New(opts.Parse), gets: coalesced{turn: make(chan struct{}, 1)}, poke: make(chan struct{}, 1), changed: func() {}}
	w.lists = kube.NewListWatch(opts.Secrets, opts.Name, kube.Reports{
		Failed: w.watchFailed, Answered: func() {}, Steady: func() { opts.Log.Info("source watch works again") },
	})
	return w
}

// Seen returns the last known source and reports whether it is fresh. If it isn't, call Get before
// relying on it.
func (w *Watcher) Seen() (mirror.Source, bool) {
	src, confirmed := w.view.Get()
	return src, !confirmed.IsZero()
}

// Read reports whether the Watcher has ever seen the source or its absence.
func (w *Watcher) Read() bool { return w.view.Read() }

// Wrote records the response to our own write.
func (w *Watcher) Wrote(secret *corev1.Secret) { w.view.Wrote(secret, time.Now()) }

// Err returns the error of the last GET, or nil if it succeeded.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Get reads the source from etcd. Concurrent callers can share a request, but only if it starts
// after their calls. An absent Secret is not an error. If the read fails, Get returns the error and
// the last known source.
func (w *Watcher) Get(ctx context.Context) (mirror.Source, error) {
	src, err := w.gets.do(ctx, w.get)
	if err != nil {
		src, _ = w.view.Get()
	}
	return src, err
}

func (w *Watcher) get(ctx context.Context) (mirror.Source, error) {
	reading := w.view.Begin()
	secret, err := w.opts.Secrets.Get(ctx, w.opts.Name)
	if apierrors.IsNotFound(err) {
		secret, err = nil, nil
	}
	if err != nil {
		err = fmt.Errorf("reading Secret %s: %w", w.opts.Name, err)
		w.setErr(err)
		return mirror.Source{}, err
	}
	src, changed, stalled := reading.Answered(secret, time.Now())
	if w.setErr(nil) { // the informer may be backing off for up to half a minute
		w.restartInformer(false)
	}
	if stalled {
		w.restartInformer(true)
	}
	if changed {
		w.notify()
		w.readSoon() // to check by then whether the watch has delivered the change
	}
	return src, nil
}

// setErr records the result of the last GET, and logs each error once. It reports whether this GET
// succeeded after a failure. Only one call runs at a time.
func (w *Watcher) setErr(err error) (recovered bool) {
	if errors.Is(err, context.Canceled) {
		return false
	}
	w.mu.Lock()
	w.err = err
	w.mu.Unlock()
	switch {
	case !w.trouble.ErrorChanged(err):
		return false
	case err == nil:
		w.opts.Log.Info("reading the source works again")
	default:
		w.opts.Log.Warn("cannot read the source", "error", err)
	}
	return err == nil
}

// Run watches and reads the source until ctx is done. It calls changed after every change. changed
// must not block.
func (w *Watcher) Run(ctx context.Context, changed func()) {
	w.mu.Lock()
	w.changed = changed
	w.mu.Unlock()
	var reading sync.WaitGroup
	defer reading.Wait()
	if w.opts.Resync > 0 {
		reading.Go(func() { w.resync(ctx) })
	}
	for ctx.Err() == nil {
		w.inform(ctx)
	}
}

func (w *Watcher) notify() {
	w.mu.Lock()
	changed := w.changed
	w.mu.Unlock()
	changed()
}

// resync reads the source at every Resync interval. It reads more often while the watch is
// unreliable, and retries soon after a failed GET.
func (w *Watcher) resync(ctx context.Context) {
	retry := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(retryMin), backoff.WithMaxInterval(retryMax), backoff.WithMaxElapsedTime(0))
	for {
		_, err := w.Get(ctx)
		next := w.nextRead()
		if err != nil {
			next = retry.NextBackOff()
		} else {
			retry.Reset()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		case <-w.poke:
		}
	}
}

// nextRead returns the delay before the next GET.
func (w *Watcher) nextRead() time.Duration {
	w.mu.Lock()
	w.watch.stalled = w.watch.stalled && !w.watch.alive()
	unwatched := w.watch.stalled || w.lists.Unsteady()
	w.mu.Unlock()
	switch {
	case unwatched:
		return unwatchedPoll
	case w.view.Missed(): // this GET determines whether the watch has stalled
		return min(view.DeafAfter+retryMin, w.opts.Resync)
	}
	return wait.Jitter(w.opts.Resync, resyncJitter)
}

func (w *Watcher) readSoon() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}
