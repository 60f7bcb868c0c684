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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// A failed LIST or WATCH is retried after a delay between these two. Its response is also the
	// first sign that a cluster is reachable again.
	watchRetryMin = 200 * time.Millisecond
	watchRetryMax = 2 * time.Second
	// A forbidden watch is retried with this backoff.
	forbiddenRetryMin = time.Minute
	forbiddenRetryMax = time.Hour
	// maxUnwatched limits how long the watch waits for the first sync.
	maxUnwatched = 10 * time.Second
)

var errStalled = errors.New("the watch has stalled")

// Secrets is the access to a remote that a Follower needs.
type Secrets interface {
	kube.Watchable
	Get(ctx context.Context, name string) (*corev1.Secret, error)
}

// A Follower follows a remote's copy. It uses a reflector (the half of an informer that talks to
// the API server) on a view. A thousand informers, each with a single user, would need 34 MiB and
// 5,000 goroutines more. Its methods are safe for concurrent use, but Run can be called only once.
type Follower struct {
	secrets Secrets
	name    string
	view    *view.View[mirror.Copy]
	lists   *kube.ListWatch
	log     *slog.Logger
	rewatch chan struct{} // makes Run retry a forbidden watch
	synced  chan struct{} // makes Run start the first watch

	failed atomic.Bool // whether the last GET failed
	calls  atomic.Pointer[calls]
	first  atomic.Pointer[corev1.Secret] // the Secret that replaces the first LIST; nil if no write came before it
}

// calls holds the callbacks passed to Run, and the function that ends the current watch. All are
// no-ops before the first watch.
type calls struct {
	changed, answered func()
	wrote             func(*corev1.Secret)
	restart           context.CancelCauseFunc
}

// NewFollower returns a Follower that doesn't know the copy yet. parse derives the Copy from the
// Secret, or from nil if the Secret is absent.
func NewFollower(secrets Secrets, name string, parse func(*corev1.Secret) mirror.Copy, log *slog.Logger) *Follower {
	f := &Follower{secrets: secrets, name: name, view: view.New(func(_ mirror.Copy, s *corev1.Secret) mirror.Copy { return parse(s) }), log: log, rewatch: make(chan struct{}, 1), synced: make(chan struct{}, 1)}
	f.calls.Store(&calls{func() {}, func() {}, f.first.Store, func(error) {}})
	f.lists = kube.NewListWatch(lister{secrets, f}, name, kube.Reports{
		Failed:   f.watchFailed,
		Answered: func() { f.calls.Load().answered() },
		Steady:   func() { log.Info("remote watch works again") },
	})
	return f
}

// Copy returns the last known copy, and when a GET or a bookmark last confirmed it. If the time is
// zero, call Look before relying on the copy.
func (f *Follower) Copy() (mirror.Copy, time.Time) { return f.view.Get() }

// Wrote records the response to our own write and returns the new copy. It doesn't call changed,
// because the writer decides again by itself.
func (f *Follower) Wrote(secret *corev1.Secret) mirror.Copy {
	f.view.Wrote(secret, time.Now())
	f.calls.Load().wrote(secret)
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
	if failed { // the first success after a failure
		select {
		case f.rewatch <- struct{}{}:
		default:
		}
	}
	seen, news, stalled := reading.Answered(secret, time.Now())
	if stalled && !f.lists.Unsteady() { // a watch that is known to be broken restarts by itself
		f.calls.Load().restart(errStalled)
	}
	if news {
		f.calls.Load().changed()
	}
	return seen, nil
}

// Follow makes Run start the first watch. Call it after the first sync.
func (f *Follower) Follow() {
	select {
	case f.synced <- struct{}{}:
	default:
	}
}

// Run watches the remote until ctx is done. After the first sync, Run waits as long as the sync
// took before it starts the first watch. So at startup, most remotes get their first copies before
// watches cause load. Run calls changed after a change by others, and when the watch breaks. It
// calls answered after every successful LIST and WATCH. Neither may block.
//
// If the token may not watch, Run logs this once and stops watching, so that only Look reads the
// remote. It retries with backoff, from a minute to an hour, and when a Look succeeds after a
// failure.
func (f *Follower) Run(ctx context.Context, changed func(), answered func()) {
	f.awaitSync(ctx)
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(forbiddenRetryMin),
		backoff.WithMaxInterval(forbiddenRetryMax), backoff.WithMaxElapsedTime(0))
	for logged := false; ; {
		why := f.watch(ctx, changed, answered)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(why, errStalled) {
			f.log.Warn("remote watch stalled; restarting it")
			continue
		}
		if !logged {
			logged = true
			f.log.Info("remote watch is forbidden; polling instead")
		}
		f.markStale() // changes since the watch ended are unknown
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry.NextBackOff()):
		case <-f.rewatch:
		}
	}
}

// awaitSync blocks until the first watch should start.
func (f *Follower) awaitSync(ctx context.Context) {
	began, synced, wait := time.Now(), f.synced, time.NewTimer(maxUnwatched)
	for {
		select {
		case <-synced:
			synced = nil
			wait.Reset(time.Since(began))
		case <-wait.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// watch watches until ctx is done, the watch has stalled, or watching is forbidden. If watching is
// forbidden, a reflector would list forever.
func (f *Follower) watch(ctx context.Context, changed, answered func()) (why error) {
	ctx, stop := context.WithCancelCause(klog.NewContext(ctx, klog.Logger{})) // client-go would log the same error at every retry
	defer stop(nil)
	f.calls.Store(&calls{changed, answered, func(*corev1.Secret) {}, stop})
	cache.NewReflectorWithOptions(f.lists, &corev1.Secret{}, &store{f: f}, cache.ReflectorOptions{
		Logger: &klog.Logger{}, Name: "Secret " + f.name,
		Backoff: &wait.Backoff{Duration: watchRetryMin, Cap: watchRetryMax, Steps: 100, Factor: 2, Jitter: 0.5},
	}).RunWithContext(ctx)
	return context.Cause(ctx)
}

// watchFailed marks the copy stale at the first failure, because later changes may go unnoticed. If
// the token may not watch, it ends the watch.
func (f *Follower) watchFailed(err error, first bool) {
	if errors.Is(err, kube.ErrMayNotWatch) {
		f.calls.Load().restart(err)
	} else if first {
		// The remote's text may contain part of a key, and not all keys are known here.
		why := string(mirror.FailureOf(err).Reason)
		if own := (*kube.Refusal)(nil); errors.As(err, &own) {
			why = own.Error()
		}
		f.log.Info("remote watch failed; retrying", "reason", why)
		f.markStale()
	}
}

func (f *Follower) markStale() {
	f.view.MarkStale()
	f.calls.Load().changed()
}

// A lister lists a Follower's Secret for its watch.
type lister struct {
	Secrets
	f *Follower
}

// List implements [kube.Watchable]. If the first sync wrote the Secret, the response to that write
// replaces the first LIST. The watch delivers everything since then.
func (l lister) List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error) {
	if s := l.f.first.Swap(nil); s != nil {
		return &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: s.ResourceVersion}, Items: []corev1.Secret{*s}}, nil
	}
	return l.Secrets.List(ctx, name, opts)
}

// A store receives the Secrets that the reflector sees. It never returns an error, because the
// reflector would log the whole Secret.
type store struct {
	f       *Follower
	reached string // the newest version that the reflector has reached
}

func (s *store) Add(obj any) error { return s.Update(obj) }
func (s *store) Resync() error     { return nil }
func (s *store) Update(obj any) error {
	return s.seen(obj.(*corev1.Secret), obj.(*corev1.Secret).ResourceVersion)
}
func (s *store) Delete(obj any) error { return s.seen(nil, obj.(*corev1.Secret).ResourceVersion) } // this is the version of the deletion

// Replace implements [cache.ReflectorStore]. A list contains the Secret or nothing.
func (s *store) Replace(list []any, version string) error {
	s.reached = version
	if len(list) > 0 {
		return s.Update(list[0])
	}
	return s.seen(nil, version)
}

func (s *store) seen(secret *corev1.Secret, version string) error {
	if s.f.view.Watched(secret, version) {
		s.f.calls.Load().changed()
	}
	return nil
}

// UpdateResourceVersion implements [cache.ResourceVersionUpdater]. The reflector calls it after each
// event and bookmark. Only a newer version shows that the watch still delivers changes: if an API
// server no longer follows etcd, its bookmarks repeat the last version.
func (s *store) UpdateResourceVersion(version string) {
	if order, err := resourceversion.CompareResourceVersion(version, s.reached); err == nil && order > 0 {
		s.reached = version
		s.f.view.Progressed(time.Now())
	}
}
