package clusters

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

const secretName = "keystone-fernet-keys"

var (
	errDown    = apierrors.NewServiceUnavailable("down")
	errNoRight = apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, secretName, errors.New("no"))
)

// A cluster is a scripted server with one Secret.
type cluster struct {
	mu                sync.Mutex
	version           string
	reading, watching error // errors of GET and LIST, and of WATCH
	stream            *watch.FakeWatcher
	from              string // the version at which the last WATCH started

	gets, lists, watches int
}

func (c *cluster) secret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName, Namespace: "openstack", UID: "a-uid", ResourceVersion: c.version}}
}

func (c *cluster) Get(context.Context, string) (*corev1.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gets++
	return c.secret(), c.reading
}

func (c *cluster) List(context.Context, string, metav1.ListOptions) (*corev1.SecretList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists++
	return &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: c.version}, Items: []corev1.Secret{*c.secret()}}, c.reading
}

func (c *cluster) Watch(_ context.Context, _ string, opts metav1.ListOptions) (watch.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches++
	c.from = opts.ResourceVersion
	if c.watching != nil {
		return nil, c.watching
	}
	c.stream = watch.NewFakeWithChanSize(10, false)
	return c.stream, nil
}

// set changes the cluster's state. If cut is set, it also ends the watch.
func (c *cluster) set(cut bool, change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if change(); cut && c.stream != nil {
		c.stream.Stop()
	}
}

func (c *cluster) counts() (gets, lists, watches int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.gets, c.lists, c.watches = 0, 0, 0 }()
	return c.gets, c.lists, c.watches
}

func (c *cluster) follower() *Follower {
	return NewFollower(c, secretName, func(s *corev1.Secret) mirror.Copy {
		return mirror.ReadCopy(mirror.Place{Remote: "dfw", Namespace: "openstack", Secret: secretName}, s)
	}, slog.New(slog.DiscardHandler))
}

// follow runs a Follower in a bubble, and counts the calls of its callbacks for story.
func follow(t *testing.T, c *cluster, story func(f *Follower, changed, answered *atomic.Int32)) {
	synctest.Test(t, func(t *testing.T) {
		f := c.follower()
		ctx, cancel := context.WithCancel(context.Background())
		var changed, answered atomic.Int32
		var running sync.WaitGroup
		running.Go(func() {
			f.Run(ctx, func() { changed.Add(1) }, func() { answered.Add(1) })
		})
		time.Sleep(time.Minute)
		c.counts()
		story(f, &changed, &answered)
		cancel()
		running.Wait()
	})
}

// If the token may read but not watch, the reflector ends instead of listing forever. The watch is
// retried with backoff.
func TestForbiddenWatch(t *testing.T) {
	c := &cluster{version: "5", watching: errNoRight}
	follow(t, c, func(f *Follower, _, _ *atomic.Int32) {
		time.Sleep(24 * time.Hour)
		if _, lists, watches := c.counts(); watches < 24 || watches > 150 || lists > 150 {
			t.Errorf("%d LISTs and %d WATCHes in a day", lists, watches)
		}
		if _, confirmed := f.Copy(); !confirmed.IsZero() {
			t.Error("without a watch, the last copy counts as fresh")
		}
	})
}

// While it starts, an API server briefly forbids everything. That doesn't end the watch.
func TestForbiddenAtAStart(t *testing.T) {
	c := &cluster{version: "5", reading: errNoRight, watching: errNoRight}
	follow(t, c, func(_ *Follower, _, _ *atomic.Int32) {
		c.set(false, func() { c.reading, c.watching = nil, nil })
		time.Sleep(2 * watchRetryMax)
		if _, _, watches := c.counts(); watches == 0 {
			t.Error("the watch did not resume within seconds")
		}
	})
}

// answered is called for every successful LIST and WATCH, and for no others.
func TestAnswered(t *testing.T) {
	c := &cluster{version: "5"}
	follow(t, c, func(_ *Follower, _, answered *atomic.Int32) {
		c.set(true, func() { c.reading, c.watching = errDown, errDown })
		time.Sleep(time.Minute)
		before := answered.Load()
		time.Sleep(10 * time.Minute)
		if n := answered.Load() - before; n != 0 {
			t.Errorf("answered was called %d times while the cluster did not respond", n)
		}
		c.set(false, func() { c.reading, c.watching = nil, nil })
		time.Sleep(2 * watchRetryMax)
		if n := answered.Load() - before; n != 2 {
			t.Errorf("answered was called %d times after a successful LIST and WATCH", n)
		}
	})
}

// A broken watch makes the copy stale once.
func TestBrokenWatchIsStaleOnce(t *testing.T) {
	c := &cluster{version: "5"}
	follow(t, c, func(f *Follower, changed, _ *atomic.Int32) {
		before := changed.Load()
		c.set(true, func() { c.watching = apierrors.NewResourceExpired("compacted") })
		time.Sleep(time.Minute)
		if _, confirmed := f.Copy(); !confirmed.IsZero() || changed.Load() != before+1 {
			t.Errorf("the copy was confirmed at %v, and changed was called %d times", confirmed, changed.Load()-before)
		}
		if _, err := f.Look(context.Background()); err != nil {
			t.Error(err)
		}
		if _, confirmed := f.Copy(); confirmed.IsZero() {
			t.Error("a GET did not confirm the copy")
		}
		if _, lists, watches := c.counts(); lists+watches > 90 {
			t.Errorf("%d LISTs and %d WATCHes in a minute", lists, watches)
		}
	})
}

// If a watch stays open without delivering events, a GET detects it, and a new watch starts.
func TestDeafWatch(t *testing.T) {
	c := &cluster{version: "5"}
	follow(t, c, func(f *Follower, _, _ *atomic.Int32) {
		c.set(false, func() { c.version = "6" })
		for range 3 {
			if _, err := f.Look(context.Background()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}
		if _, lists, watches := c.counts(); lists != 1 || watches != 1 {
			t.Errorf("%d LISTs and %d WATCHes, want one of each", lists, watches)
		}
	})
}

// Only a bookmark with a newer version confirms the copy. An API server that no longer follows etcd
// repeats its last version. A bookmark doesn't confirm a copy whose change the watch has missed.
func TestBookmarks(t *testing.T) {
	c := &cluster{version: "5"}
	follow(t, c, func(f *Follower, _, _ *atomic.Int32) {
		look := func() {
			if _, err := f.Look(context.Background()); err != nil {
				t.Error(err)
			}
		}
		bookmark := func(version string, confirms bool) {
			t.Helper()
			time.Sleep(time.Second)
			c.stream.Action(watch.Bookmark, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version}})
			synctest.Wait()
			_, at := f.Copy()
			if confirmed := at.Equal(time.Now()); confirmed != confirms {
				t.Errorf("a bookmark at version %s confirms: %v", version, confirmed)
			}
		}
		bookmark("7", false) // no GET has confirmed the copy before
		look()
		bookmark("7", false)
		bookmark("8", true)
		bookmark("8", false)
		bookmark("6", false)
		bookmark("8", false)
		bookmark("x", false)
		bookmark("9", true)
		c.stream.Modify(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName, ResourceVersion: "10"}})
		bookmark("10", false)
		bookmark("11", true)
		c.set(false, func() { c.version = "12" })
		look()
		bookmark("13", false)
	})
}

// The first watch starts only after the first sync, at the version that this sync wrote or found.
// Later watches start with a LIST.
func TestFirstWatch(t *testing.T) {
	for name, tc := range map[string]struct {
		wrote, synced bool
		lists         int
		after         time.Duration
	}{
		"written":      {true, true, 0, 2 * time.Second},
		"found":        {false, true, 1, 2 * time.Second},
		"never synced": {false, false, 1, maxUnwatched},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cluster{version: "5"}
				f := c.follower()
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { f.Run(ctx, func() {}, func() {}) })
				defer running.Wait()
				defer cancel()
				if _, err := f.Look(ctx); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
				if tc.wrote {
					c.version = "6"
					f.Wrote(c.secret())
				}
				if tc.synced {
					f.Follow()
				}
				time.Sleep(tc.after - 1500*time.Millisecond)
				if tc.synced {
					f.Follow() // another sync doesn't delay the watch
				}
				time.Sleep(499 * time.Millisecond)
				if _, lists, watches := c.counts(); lists+watches > 0 {
					t.Errorf("%d LISTs and %d WATCHes during the first sync", lists, watches)
				}
				time.Sleep(time.Second)
				if _, lists, watches := c.counts(); lists != tc.lists || watches != 1 || c.from != c.version {
					t.Errorf("%d LISTs and %d WATCHes, the last from version %q", lists, watches, c.from)
				}
				f.Wrote(c.secret())
				if f.first.Load() != nil {
					t.Error("Follow kept a later write to replace a LIST")
				}
				c.set(true, func() { c.watching = apierrors.NewResourceExpired("compacted") })
				time.Sleep(time.Second)
				c.set(false, func() { c.watching = nil })
				time.Sleep(time.Minute)
				if _, lists, _ := c.counts(); lists == 0 {
					t.Error("no LIST after an expired watch")
				}
			})
		})
	}
}

// A Follower that waits for the first sync ends at once.
func TestEndsBeforeTheFirstSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{version: "5"}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		c.follower().Run(ctx, func() {}, func() {})
		if took := time.Since(began); took != time.Second {
			t.Errorf("Run ended after %v", took)
		}
	})
}
