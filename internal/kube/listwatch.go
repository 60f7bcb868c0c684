package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	// steadyAfter is how long a watch must stay open to count as steady.
	steadyAfter = 10 * time.Second
	// A watch that ends sooner is reopened after a delay between shortMin and shortMax, because
	// client-go doesn't always wait. The delay grows with each short watch, but not while the
	// server is down.
	shortMin = 200 * time.Millisecond
	shortMax = 30 * time.Second
)

// ErrMayNotWatch means that a WATCH was forbidden directly after a successful LIST, so the token
// lacks the watch permission. An API server that is starting forbids both.
var ErrMayNotWatch = errors.New("the token may list but not watch")

var errShort = &Refusal{"the watch ends immediately", true}

// Watchable lists and watches a named Secret. [Secrets] implements it, and so do fakes in tests.
type Watchable interface {
	List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error)
	Watch(ctx context.Context, name string, opts metav1.ListOptions) (watch.Interface, error)
}

// Reports are callbacks about LISTs and WATCHes. None may be nil or block. Steady runs in its own
// goroutine.
type Reports struct {
	// Failed is called when a LIST or WATCH fails, or a watch ends too soon. The argument first is
	// true for the first failure since the last steady watch.
	Failed func(err error, first bool)
	// Steady is called when a watch becomes steady after a failure.
	Steady func()
	// Answered is called when a LIST or WATCH succeeds.
	Answered func()
}

// ListWatch is a [cache.ListerWatcher] for the named Secret. Only one reflector may use it at a
// time. It backs off if watches end too soon, because client-go doesn't always back off.
type ListWatch struct {
	*cache.ListWatch
	secrets Watchable
	name    string
	reports Reports

	mu       sync.Mutex
	pauses   *backoff.ExponentialBackOff
	pause    time.Duration // delay before the next WATCH; 0 unless the last watch was short
	listed   bool          // whether the last request was a successful LIST
	unsteady bool          // whether a LIST or WATCH failed since the last steady watch
}

// NewListWatch returns a ListWatch.
func NewListWatch(secrets Watchable, name string, reports Reports) *ListWatch {
	l := &ListWatch{secrets: secrets, name: name, reports: reports, pauses: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(shortMin), backoff.WithMaxInterval(shortMax), backoff.WithMaxElapsedTime(0))}
	l.ListWatch = &cache.ListWatch{ListWithContextFunc: l.list, WatchFuncWithContext: l.watch}
	return l
}

// IsWatchListSemanticsUnSupported makes client-go list and then watch. It would retry a failing
// streaming list in a tight loop.
func (l *ListWatch) IsWatchListSemanticsUnSupported() bool { return true }

// Unsteady reports whether a LIST or WATCH has failed since the last steady watch.
func (l *ListWatch) Unsteady() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unsteady
}

// Restart resets the backoff, so the next WATCH is sent immediately.
func (l *ListWatch) Restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pause = 0
	l.pauses.Reset()
}

func (l *ListWatch) list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	list, err := l.secrets.List(ctx, l.name, opts)
	l.mu.Lock()
	l.listed = err == nil
	l.mu.Unlock()
	l.report(ctx, err)
	return list, err
}

func (l *ListWatch) watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	select {
	case <-time.After(l.wait()):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	events, err := l.secrets.Watch(ctx, l.name, opts)
	l.mu.Lock()
	if l.listed && apierrors.IsForbidden(err) {
		err = fmt.Errorf("%w: %w", ErrMayNotWatch, err)
	}
	l.listed = false
	l.mu.Unlock()
	l.report(ctx, err)
	if err != nil {
		return nil, err
	}
	return &reportedWatch{Interface: events, list: l, ctx: ctx, steady: time.AfterFunc(steadyAfter, l.steady)}, nil
}

func (l *ListWatch) wait() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pause
}

// report reports the result of a request, unless our own cancellation ended it.
func (l *ListWatch) report(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		l.reports.Answered()
		return
	}
	l.mu.Lock()
	first := !l.unsteady
	l.unsteady = true
	l.mu.Unlock()
	l.reports.Failed(err, first)
}

func (l *ListWatch) steady() {
	l.mu.Lock()
	again := l.unsteady
	l.unsteady = false
	l.mu.Unlock()
	if again {
		l.reports.Steady()
	}
}

// A reportedWatch reports how it ended, once. The reflector always calls Stop.
type reportedWatch struct {
	watch.Interface
	list   *ListWatch
	ctx    context.Context
	steady *time.Timer
	once   sync.Once
}

func (w *reportedWatch) Stop() {
	w.Interface.Stop()
	w.once.Do(func() {
		short := w.steady.Stop() // whether the watch was stopped before it became steady
		if !short {
			w.list.Restart()
			return
		}
		w.list.mu.Lock()
		w.list.pause = w.list.pauses.NextBackOff()
		w.list.mu.Unlock()
		w.list.report(w.ctx, errShort)
	})
}
