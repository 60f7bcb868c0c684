package clusters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/view"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// A LIST or WATCH that failed is sent again between these two later: its answer
	// is how we learn that a cluster is back.
	watchRetryMin = 200 * time.Millisecond
	watchRetryMax = 2 * time.Second
	// A token that may not watch is tried again from time to time.
	forbiddenRetryMin = time.Minute
	forbiddenRetryMax = time.Hour
)

var errDeaf = errors.New("the watch brings nothing")

// Secrets is what a follower asks of a remote.
type Secrets interface {
	kube.Watchable
	Get(ctx context.Context, name string) (*corev1.Secret, error)
}

// Follower follows a remote's copy. It is a reflector, the half of an informer
// that talks to the API server, on a view: a thousand informers would take 34
// MiB and 5,000 goroutines more, and nobody else would share them. Its methods
// may be called concurrently; Run only once.
type Follower struct {
	secrets Secrets
	name    string
	view    *view.View[mirror.Copy]
	lists   *kube.ListWatch
	log     *slog.Logger
	rewatch chan struct{} // tells Run to try a forbidden watch again

	failed atomic.Bool // how the last GET ended
	calls  atomic.Pointer[calls]
}

// calls are what a follower calls: what Run is given, and what ends its watch.
// Each is a no-op before Run.
type calls struct {
	changed, answered func()
	restart           context.CancelCauseFunc
}

// NewFollower makes a follower that has seen nothing. Parse judges what is
// seen; nil is an absent Secret.
func NewFollower(secrets Secrets, name string, parse func(*corev1.Secret) mirror.Copy, log *slog.Logger) *Follower {
	f := &Follower{secrets: secrets, name: name, view: view.New(func(_ mirror.Copy, s *corev1.Secret) mirror.Copy { return parse(s) }), log: log, rewatch: make(chan struct{}, 1)}
	f.calls.Store(&calls{changed: func() {}, answered: func() {}, restart: func(error) {}})
	f.lists = kube.NewListWatch(secrets, name, kube.Reports{
		Failed:   f.watchFailed,
		Answered: func() { f.calls.Load().answered() },
		Steady:   func() { log.Info("the remote is watched again") },
	})
	return f
}

// Copy is what was seen last, and whether that can be relied on without Look.
func (f *Follower) Copy() (mirror.Copy, bool) { return f.view.Get() }

// Wrote takes the answer to a write of ours, and returns what is seen then. It
// notifies nobody: the writer decides again by itself.
func (f *Follower) Wrote(secret *corev1.Secret) mirror.Copy {
	f.view.Wrote(secret, time.Now())
	seen, _ := f.view.Get()
	return seen
}

// Look reads the remote with GET.
func (f *Follower) Look(ctx context.Context) (mirror.Copy, error) {
	reading := f.view.Begin()
	secret, err := f.secrets.Get(ctx, f.name)
	if apierrors.IsNotFound(err) {
		secret, err = nil, nil
	}
	failed := f.failed.Swap(err != nil)
	if err != nil {
		seen, _ := f.view.Get()
		return seen, fmt.Errorf("reading Secret %s: %w", f.name, err)
	}
	if failed { // and no more
		select {
		case f.rewatch <- struct{}{}:
		default:
		}
	}
	seen, news, deaf := reading.Answered(secret, time.Now())
	if deaf && !f.lists.Unsteady() { // one that is known to be broken begins again by itself
		f.calls.Load().restart(errDeaf)
	}
	if news {
		f.calls.Load().changed()
	}
	return seen, nil
}

// Run watches the remote until ctx is done. It calls changed after a change
// that others made, and where the watch broke; and answered after each LIST and
// WATCH that was answered. Neither may block.
//
// Where the token may not watch, Run says so once and leaves it to Look, until
// one succeeds after a failure, or for a minute at first and an hour in the end.
func (f *Follower) Run(ctx context.Context, changed func(), answered func()) {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(forbiddenRetryMin),
		backoff.WithMaxInterval(forbiddenRetryMax), backoff.WithMaxElapsedTime(0))
	for said := false; ; {
		why := f.watch(ctx, changed, answered)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(why, errDeaf) {
			f.log.Warn("the watch of the remote brings nothing, so another begins: a connection that died, or an etcd that was restored?")
			continue
		}
		if !said {
			said = true
			f.log.Info("may not watch the Secret, so it is read with GET from time to time")
		}
		f.markStale() // what happened since the watch ended is not known
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry.NextBackOff()):
		case <-f.rewatch:
		}
	}
}

// watch watches until ctx is done, the watch is deaf, or watching is forbidden:
// a reflector would list for ever then.
func (f *Follower) watch(ctx context.Context, changed, answered func()) (why error) {
	ctx, stop := context.WithCancelCause(klog.NewContext(ctx, klog.Logger{})) // its own lines would repeat at each try
	defer stop(nil)
	f.calls.Store(&calls{changed, answered, stop})
	cache.NewReflectorWithOptions(f.lists, &corev1.Secret{}, store{f}, cache.ReflectorOptions{
		Logger: &klog.Logger{}, Name: "Secret " + f.name,
		Backoff: &wait.Backoff{Duration: watchRetryMin, Cap: watchRetryMax, Steps: 100, Factor: 2, Jitter: 0.5},
	}).RunWithContext(ctx)
	return context.Cause(ctx)
}

// watchFailed marks the copy stale at the first failure: what changes from now on
// may not be told. A token that may not watch ends the watching.
func (f *Follower) watchFailed(err error, first bool) {
	if errors.Is(err, kube.ErrMayNotWatch) {
		f.calls.Load().restart(err)
	} else if first {
		// A text of the remote's may hold a piece of a key, and not all keys are known here.
		why := string(mirror.FailureOf(err).Reason)
		if own := (*kube.Refusal)(nil); errors.As(err, &own) {
			why = own.Error()
		}
		f.log.Info("the watch of the remote is broken, so its changes may be seen late", "reason", why)
		f.markStale()
	}
}

func (f *Follower) markStale() {
	f.view.MarkStale()
	f.calls.Load().changed()
}

// store is where the reflector puts what it sees, all of it Secrets. It never
// fails: the reflector would log the whole Secret.
type store struct{ f *Follower }

func (s store) Add(obj any) error { return s.Update(obj) }
func (s store) Resync() error     { return nil }
func (s store) Update(obj any) error {
	return s.seen(obj.(*corev1.Secret), obj.(*corev1.Secret).ResourceVersion)
}
func (s store) Delete(obj any) error { return s.seen(nil, obj.(*corev1.Secret).ResourceVersion) } // of the deletion

// Replace implements [cache.ReflectorStore]. A list holds the one Secret, or none.
func (s store) Replace(list []any, version string) error {
	if len(list) > 0 {
		return s.Update(list[0])
	}
	return s.seen(nil, version)
}

func (s store) seen(secret *corev1.Secret, version string) error {
	if s.f.view.Watched(secret, version) {
		s.f.calls.Load().changed()
	}
	return nil
}
