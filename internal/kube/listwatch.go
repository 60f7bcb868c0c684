package kube

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	// steadyAfter is how long a watch is open before it is taken for a whole one.
	steadyAfter = 10 * time.Second
	// A watch that ends sooner is asked for again after a wait between these two,
	// whatever ended it: client-go waits only after some of the ends.
	shortMin = 200 * time.Millisecond
	shortMax = 30 * time.Second
)

// ErrShort says that a watch was answered and has ended within seconds.
var ErrShort = errors.New("the watch ends as soon as it has begun")

// Watchable is what is listed and watched: [Secrets], or a model of it.
type Watchable interface {
	List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error)
	Watch(ctx context.Context, name string, opts metav1.ListOptions) (watch.Interface, error)
}

// Reports are told how LISTs and WATCHes go, Steady by a goroutine of its own.
// None may be nil, and none may block.
type Reports struct {
	// Answered: one was answered.
	Answered func()
	// Failed: one was not, or a watch has ended too soon.
	Failed func(err error)
	// Steady: a watch has been open for some time.
	Steady func()
}

// ListWatch is the named Secret's [cache.ListerWatcher]. It backs off where
// watches end too soon, which client-go does not always do.
type ListWatch struct {
	*cache.ListWatch
	secrets Watchable
	name    string
	reports Reports
	pause   *backoff.ExponentialBackOff
	short   bool // the last watch was
}

// NewListWatch makes one for one reflector.
func NewListWatch(secrets Watchable, name string, reports Reports) *ListWatch {
	l := &ListWatch{secrets: secrets, name: name, reports: reports, pause: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(shortMin), backoff.WithMaxInterval(shortMax), backoff.WithMaxElapsedTime(0))}
	l.ListWatch = &cache.ListWatch{ListWithContextFunc: l.list, WatchFuncWithContext: l.watch}
	return l
}

// IsWatchListSemanticsUnSupported has client-go list and then watch. Streaming
// lists it asks for again and again, without a wait, where they do not end well.
func (l *ListWatch) IsWatchListSemanticsUnSupported() bool { return true }

func (l *ListWatch) list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	list, err := l.secrets.List(ctx, l.name, opts)
	l.report(ctx, err)
	return list, err
}

func (l *ListWatch) watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	if l.short {
		select {
		case <-time.After(l.pause.NextBackOff()):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	events, err := l.secrets.Watch(ctx, l.name, opts)
	l.report(ctx, err)
	if err != nil {
		return nil, err
	}
	w := &watched{Interface: events, begun: time.Now()}
	w.steady = time.AfterFunc(steadyAfter, l.reports.Steady)
	w.ended = func(open time.Duration) {
		if l.short = open < steadyAfter; !l.short {
			l.pause.Reset()
		} else {
			l.report(ctx, ErrShort)
		}
	}
	return w, nil
}

// report tells how a request went, unless it was ended from here.
func (l *ListWatch) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err == nil:
		l.reports.Answered()
	default:
		l.reports.Failed(err)
	}
}

// watched is a watch whose end is told, once. The reflector stops it always.
type watched struct {
	watch.Interface
	begun  time.Time
	steady *time.Timer
	ended  func(open time.Duration)
}

func (w *watched) Stop() {
	w.Interface.Stop()
	if w.ended != nil {
		w.steady.Stop()
		w.ended(time.Since(w.begun))
		w.ended = nil
	}
}
