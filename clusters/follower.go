package clusters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	rewatch chan struct{} // has Run try a forbidden watch again

	mu       sync.Mutex
	changed  func() // given to Run
	answered func() // given to Run
	restart  context.CancelCauseFunc
	failed   bool // the last GET has
}

// NewFollower makes a follower that has seen nothing. Parse judges what is
// seen; nil is an absent Secret.
func NewFollower(secrets Secrets, name string, parse func(*corev1.Secret) mirror.Copy, log *slog.Logger) *Follower {
	f := &Follower{secrets: secrets, name: name, view: view.New(parse), log: log, rewatch: make(chan struct{}, 1),
		changed: func() {}, answered: func() {}, restart: func(error) {}}
	f.lists = kube.NewListWatch(secrets, name, kube.Reports{
		Failed: f.watchFailed, Answered: f.watchAnswered, Steady: func() { log.Info("the remote is watched again") },
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
	f.mu.Lock()
	recovered := f.failed && err == nil
	f.failed = err != nil
	changed, restart := f.changed, f.restart
	f.mu.Unlock()
	if err != nil {
		seen, _ := f.view.Get()
		return seen, fmt.Errorf("reading Secret %s: %w", f.name, err)
	}
	if recovered {
		select {
		case f.rewatch <- struct{}{}:
		default:
		}
	}
	seen, news, deaf := reading.Answered(secret, time.Now())
	if deaf && !f.lists.Unsteady() { // one that is known to be broken begins again by itself
		restart(errDeaf)
	}
	if news {
		changed()
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
	f.mu.Lock()
	f.changed, f.answered = changed, answered
	f.mu.Unlock()
	retry := exponential(forbiddenRetryMin, forbiddenRetryMax)
	for said := false; ; {
		why := f.watch(ctx)
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

func exponential(initial, highest time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(initial), backoff.WithMaxInterval(highest), backoff.WithMaxElapsedTime(0))
}

// watch watches until ctx is done, the watch is deaf, or watching is forbidden:
// a reflector would list for ever then.
func (f *Follower) watch(ctx context.Context) (why error) {
	ctx, stop := context.WithCancelCause(klog.NewContext(ctx, klog.Logger{})) // its own lines would repeat at each try
	defer stop(nil)
	f.mu.Lock()
	f.restart = stop
	f.mu.Unlock()
	cache.NewReflectorWithOptions(f.lists, &corev1.Secret{}, store{f}, cache.ReflectorOptions{
		Logger: &klog.Logger{}, Name: "Secret " + f.name,
		Backoff: &wait.Backoff{Duration: watchRetryMin, Cap: watchRetryMax, Steps: 100, Factor: 2, Jitter: 0.5},
	}).RunWithContext(ctx)
	return context.Cause(ctx)
}
