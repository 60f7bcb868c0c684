// Package watcher watches the source Secret. A shared informer says when it
// changed, and what was seen last can be asked for.
//
// It decides nothing and writes nothing.
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
	// After a GET that failed the next one comes between these two later.
	retryMin = 200 * time.Millisecond
	retryMax = 2 * time.Second
	// unwatchedPoll is how often the source is read while the watch brings nothing.
	unwatchedPoll = 500 * time.Millisecond
	// resyncJitter spreads the GETs of many replicas.
	resyncJitter = 0.2
)

// Secrets is what a watcher asks of the source's cluster.
type Secrets interface {
	kube.Watchable
	Get(ctx context.Context, name string) (*corev1.Secret, error)
}

// Options are a [Watcher]'s. All but Resync are needed.
type Options struct {
	Secrets Secrets
	Name    string
	// Parse judges what is seen after the last that was; nil is an absent Secret.
	Parse func(last mirror.Source, secret *corev1.Secret) mirror.Source
	// Resync is how often Run reads the Secret with GET, whatever the informer
	// says; jittered. 0: never, where nobody runs it or a test does it itself.
	Resync time.Duration
	Log    *slog.Logger
}

// Watcher knows the source. Its methods may be called concurrently; Run only once.
type Watcher struct {
	opts    Options
	view    *view.View[mirror.Source]
	gets    coalesced
	trouble logonce.Text // why the last GET failed; only the GET on its way uses it
	lists   *kube.ListWatch
	poke    chan struct{} // tells Run to read at once

	mu      sync.Mutex
	changed func() // given to Run
	err     error  // of the last GET
	watch   watchState
}

// watchState is what is known of the present informer. Watcher.mu guards it.
type watchState struct {
	restart func()      // ends the informer, so that the next one begins; nil before the first
	alive   func() bool // reports whether the informer's watch has brought anything
	deaf    bool        // a watch has missed what a GET has found, and none has brought anything since
}

// silent is the alive of an informer that has brought nothing yet.
func silent() bool { return false }

// New makes a watcher that has seen nothing.
func New(opts Options) *Watcher {
	w := &Watcher{opts: opts, view: view.New(opts.Parse), gets: coalesced{turn: make(chan struct{}, 1)}, poke: make(chan struct{}, 1), changed: func() {}}
	w.lists = kube.NewListWatch(opts.Secrets, opts.Name, kube.Reports{
		Failed: w.watchFailed, Answered: func() {}, Steady: func() { opts.Log.Info("the source is watched again") },
	})
	return w
}

// Seen is the source as last seen, and whether that can be relied on without Get.
func (w *Watcher) Seen() (mirror.Source, bool) { return w.view.Get() }

// Read says whether the source, or its absence, was ever seen.
func (w *Watcher) Read() bool { return w.view.Read() }

// Wrote takes the answer to a write of ours.
func (w *Watcher) Wrote(secret *corev1.Secret) { w.view.Wrote(secret, time.Now()) }

// Err is why the source could not be read at the last try; nil if it could.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Get reads the source from etcd, by a request that begins after the call does.
// Callers that wait at the same time share one. It returns what is seen then,
// also beside an error. An absent Secret is no error.
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
	src, changed, deaf := reading.Answered(secret, time.Now())
	if w.setErr(nil) { // the informer may wait for up to half a minute
		w.restartInformer(false)
	}
	if deaf {
		w.restartInformer(true)
	}
	if changed {
		w.notify()
		w.readSoon() // and then see whether the watch has brought it
	}
	return src, nil
}

// setErr stores how the last GET ended, and logs each error once. It reports whether
// this GET succeeded after a failure. Only one call runs at a time.
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
		w.opts.Log.Info("the source can be read again")
	default:
		w.opts.Log.Warn("the source cannot be read", "error", err)
	}
	return err == nil
}

// Run watches and reads the source until ctx is done, and calls changed after
// each change, which must not block.
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

// resync reads the source every Resync, more often where the watch cannot be
// relied on, and soon again after a failure.
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

// nextRead is how long the next GET can wait.
func (w *Watcher) nextRead() time.Duration {
	w.mu.Lock()
	w.watch.deaf = w.watch.deaf && !w.watch.alive()
	unwatched := w.watch.deaf || w.lists.Unsteady()
	w.mu.Unlock()
	switch {
	case unwatched:
		return unwatchedPoll
	case w.view.Missed(): // the GET that tells whether the watch is deaf
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
