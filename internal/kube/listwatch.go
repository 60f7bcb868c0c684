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
	// steadyAfter is how long a watch is open before it is taken for a whole one.
	steadyAfter = 10 * time.Second
	// A watch that ends sooner is asked for again after a wait between these two,
	// whatever ended it: client-go waits only after some of the ends. The wait grows
	// with each such watch, and not with a try that finds no server.
	shortMin = 200 * time.Millisecond
	shortMax = 30 * time.Second
)

// ErrMayNotWatch is why a WATCH failed whose LIST was answered just before: the
// token has no right to it. An API server that has just started forbids both.
var ErrMayNotWatch = errors.New("the token may list and not watch")

var errShort = &Refusal{"the watch ends as soon as it has begun", true}

// Watchable is what is listed and watched: [Secrets], or a model of it.
type Watchable interface {
	List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error)
	Watch(ctx context.Context, name string, opts metav1.ListOptions) (watch.Interface, error)
}

// Reports are told how LISTs and WATCHes go, Steady by a goroutine of its own.
// None may be nil, and none may block.
type Reports struct {
	// Failed: one was not answered well, or a watch has ended too soon; first says
	// that there was no other since a watch was steady.
	Failed func(err error, first bool)
	// Steady: after a failure a watch has been open for some time.
	Steady func()
	// Answered: one was answered.
	Answered func()
}

// ListWatch is the named Secret's [cache.ListerWatcher], for one reflector at a
// time. It backs off where watches end too soon, which client-go does not always do.
type ListWatch struct {
	*cache.ListWatch
	secrets Watchable
	name    string
	reports Reports

	mu       sync.Mutex
	pauses   *backoff.ExponentialBackOff
	pause    time.Duration // before a WATCH; 0 unless the last watch was short
	listed   bool          // a LIST was the last to be answered
	unsteady bool          // one has failed, and no watch has been open for some time since
}

// NewListWatch makes a ListWatch.
func NewListWatch(secrets Watchable, name string, reports Reports) *ListWatch {
	l := &ListWatch{secrets: secrets, name: name, reports: reports, pauses: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(shortMin), backoff.WithMaxInterval(shortMax), backoff.WithMaxElapsedTime(0))}
	l.ListWatch = &cache.ListWatch{ListWithContextFunc: l.list, WatchFuncWithContext: l.watch}
	return l
}

// IsWatchListSemanticsUnSupported has client-go list and then watch. Streaming
// lists it asks for again and again, without a wait, where they do not end well.
func (l *ListWatch) IsWatchListSemanticsUnSupported() bool { return true }

// Unsteady says whether a LIST or a WATCH has failed, and no watch has been open
// for some time since.
func (l *ListWatch) Unsteady() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unsteady
}

// Restart ends the back-off between watches: the next one is asked for at once.
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
	return &watched{Interface: events, list: l, ctx: ctx, steady: time.AfterFunc(steadyAfter, l.steady)}, nil
}

func (l *ListWatch) wait() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pause
}

// report tells how a request went, unless it was ended from here.
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

// watched is a watch whose end is noted, once. The reflector stops it always.
type watched struct {
	watch.Interface
	list   *ListWatch
	ctx    context.Context
	steady *time.Timer
	once   sync.Once
}

func (w *watched) Stop() {
	w.Interface.Stop()
	w.once.Do(func() {
		short := w.steady.Stop() // before it was steady
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
