package watcher

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// A watch is asked for again soon: its answer is how we learn that a cluster
	// is back. Where connections are refused, the reflector does not notice that it
	// is to end before its wait is over: 3 s at most, with the jitter.
	watchRetryMin = 200 * time.Millisecond
	watchRetryMax = 2 * time.Second
	// A token that may not watch is tried again from time to time: it may have
	// been an API server in the middle of its start.
	forbiddenRetryMin = time.Minute
	forbiddenRetryMax = time.Hour
	// deafAfter is how long a watch may take to bring what a GET has found.
	deafAfter = 5 * time.Second
	// pollJitter spreads the GETs of many replicas.
	pollJitter = 0.2
)

// errDeaf ends a watch that brings nothing any more.
var errDeaf = errors.New("the watch is deaf")

// Run watches the Secret until ctx is done. Where the token may not watch, it
// says so once and leaves it to GETs, until one succeeds after a failure, or
// for a minute at first and an hour in the end.
func (w *Watcher[T]) Run(ctx context.Context) {
	var polling sync.WaitGroup
	defer polling.Wait()
	if w.opts.Poll > 0 {
		polling.Go(func() { w.poll(ctx) })
	}
	retry := exponential(forbiddenRetryMin, forbiddenRetryMax)
	for said := false; ; {
		again := w.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if again {
			continue
		}
		if !said {
			said = true
			w.opts.Log.Info("may not watch the Secret, so it is read with GET from time to time")
		}
		// What happened since the watch ended is not known.
		w.mu.Lock()
		w.markStale()
		w.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry.NextBackOff()):
		case <-w.rewatch:
		}
	}
}

func exponential(initial, highest time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(initial), backoff.WithMaxInterval(highest), backoff.WithMaxElapsedTime(0))
}

// follow watches until ctx is done, or watching is to begin anew, or is
// forbidden: a reflector would list for ever then. The reflector is the half of
// an informer that talks to the API server; what is seen is the other half.
func (w *Watcher[T]) follow(ctx context.Context) (again bool) {
	ctx, forbidden := context.WithCancel(ctx)
	defer forbidden()
	ctx, restart := context.WithCancelCause(ctx)
	defer restart(nil)
	w.restartBy(func() { restart(errDeaf) })
	defer w.restartBy(nil)
	// Its own lines would tell of the same error at each try.
	var quiet klog.Logger
	ctx = klog.NewContext(ctx, quiet)
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, w.name).String()
	// mayRead says that since a WATCH was forbidden a GET was not.
	mayRead := false
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = only
			var list *corev1.SecretList
			err := w.timed(ctx, func(ctx context.Context) (err error) {
				list, err = w.secrets.List(ctx, opts)
				return err
			})
			w.answered(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.FieldSelector = only
			events, err := w.begin(ctx, opts)
			// An API server that has just started forbids everything for a moment.
			switch refused := apierrors.IsForbidden(err); {
			case refused && mayRead:
				forbidden()
				return nil, err
			case refused:
				mayRead = w.mayRead(ctx)
			default:
				mayRead = false
			}
			w.answered(ctx, err)
			return events, err
		},
	}
	cache.NewReflectorWithOptions(lw, &corev1.Secret{}, store[T]{w}, cache.ReflectorOptions{
		Logger: &quiet,
		Name:   "Secret " + w.name,
		Backoff: &wait.Backoff{
			Duration: watchRetryMin, Cap: watchRetryMax, Steps: 100, Factor: 2, Jitter: 0.5,
		},
	}).RunWithContext(ctx)
	return errors.Is(context.Cause(ctx), errDeaf)
}

func (w *Watcher[T]) restartBy(restart func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restart = restart
}

// mayRead says whether a GET is allowed. It does not look at what there is.
func (w *Watcher[T]) mayRead(ctx context.Context) bool {
	err := w.timed(ctx, func(ctx context.Context) error {
		_, err := w.secrets.Get(ctx, w.name, metav1.GetOptions{})
		return err
	})
	return err == nil || apierrors.IsNotFound(err)
}

// begin sends a WATCH. The deadline is for its answer; the events may take as long as they like.
func (w *Watcher[T]) begin(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	watching, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(w.opts.Timeout, func() {
		cancel()
		w.opts.TimedOut()
	})
	events, err := w.secrets.Watch(watching, opts)
	late.Stop()
	if err != nil {
		cancel()
		return nil, err
	}
	return stream{events, cancel}, nil
}

// stream is a watch that lets go of its context when it is stopped.
type stream struct {
	watch.Interface
	cancel context.CancelFunc
}

func (s stream) Stop() {
	s.cancel()
	s.Interface.Stop()
}

// answered notes how a LIST or a WATCH went. The first to fail puts what is
// seen in stale: whoever asks for it then finds out with GET.
func (w *Watcher[T]) answered(ctx context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case ctx.Err() != nil && err != nil:
	case err == nil:
		w.broken = false
		w.opts.Connected()
	case !w.broken:
		w.broken = true
		w.opts.Log.Debug("the watch is broken", "error", err)
		w.markStale()
	}
}

// markStale has what is seen read again: by poll, or by whoever looks at what
// changed. w.mu is held.
func (w *Watcher[T]) markStale() {
	w.stale = true
	if w.opts.Poll == 0 {
		w.opts.Changed()
		return
	}
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// poll reads the Secret every now and then, at once when in stale, and soon
// again after a failure.
func (w *Watcher[T]) poll(ctx context.Context) {
	retry := exponential(watchRetryMin, watchRetryMax)
	for {
		next := wait.Jitter(w.opts.Poll, pollJitter)
		if _, err := w.Get(ctx); err != nil {
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
