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

// cluster is a server of one Secret, scripted.
type cluster struct {
	mu                sync.Mutex
	version           string
	reading, watching error // why a GET and a LIST, and a WATCH, are not answered; nil where they are
	stream            *watch.FakeWatcher

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

func (c *cluster) Watch(context.Context, string, metav1.ListOptions) (watch.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches++
	if c.watching != nil {
		return nil, c.watching
	}
	c.stream = watch.NewFakeWithChanSize(10, false)
	return c.stream, nil
}

// set changes the cluster, and ends its watch where cut is set.
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

// ends are those of outages: when each began.
type ends struct {
	mu   sync.Mutex
	list []time.Time
}

func (e *ends) add(down time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, down)
}

func (e *ends) all() []time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.list
}

// follow runs a follower in a bubble: a story is told of what it calls.
func follow(t *testing.T, c *cluster, story func(f *Follower, changed *atomic.Int32, answered *ends)) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFollower(c, secretName, func(s *corev1.Secret) mirror.Copy {
			return mirror.ReadCopy(mirror.Place{Remote: "dfw", Namespace: "openstack", Secret: secretName}, s)
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		var changed atomic.Int32
		var answered ends
		var running sync.WaitGroup
		running.Go(func() {
			f.Run(ctx, func() { changed.Add(1) }, answered.add)
		})
		time.Sleep(time.Minute)
		c.counts()
		story(f, &changed, &answered)
		cancel()
		running.Wait()
	})
}

// Where the token may read and not watch, the reflector ends, and does not list
// for ever; the watch is tried again, ever more seldom.
func TestForbiddenWatch(t *testing.T) {
	c := &cluster{version: "5", watching: errNoRight}
	follow(t, c, func(f *Follower, _ *atomic.Int32, _ *ends) {
		time.Sleep(24 * time.Hour)
		if _, lists, watches := c.counts(); watches < 24 || watches > 150 || lists > 150 {
			t.Errorf("%d LISTs and %d WATCHes in a day", lists, watches)
		}
		if _, fresh := f.Copy(); fresh {
			t.Error("without a watch, what was seen is taken for fresh")
		}
	})
}

// An API server that starts forbids everything for a moment. That is no reason
// to stop watching.
func TestForbiddenAtAStart(t *testing.T) {
	c := &cluster{version: "5", reading: errNoRight, watching: errNoRight}
	follow(t, c, func(_ *Follower, _ *atomic.Int32, _ *ends) {
		c.set(false, func() { c.reading, c.watching = nil, nil })
		time.Sleep(2 * watchRetryMax)
		if _, _, watches := c.counts(); watches == 0 {
			t.Error("the watch is not back within seconds")
		}
	})
}

// Only an outage that ends is told, with its begin: neither a watch that is cut
// and comes back, nor one that ends again and again, nor one that is refused.
func TestAnswered(t *testing.T) {
	c := &cluster{version: "5"}
	follow(t, c, func(_ *Follower, _ *atomic.Int32, answered *ends) {
		for range 60 {
			c.set(true, func() {})
			time.Sleep(time.Second)
		}
		c.set(true, func() { c.watching = errNoRight })
		time.Sleep(time.Second)
		c.set(false, func() { c.watching = nil })
		time.Sleep(2 * time.Minute)
		if len(answered.all()) != 0 {
			t.Errorf("told %d times of an end of no outage", len(answered.all()))
		}
		before := time.Now()
		c.set(true, func() { c.reading, c.watching = errDown, errDown })
		time.Sleep(10 * time.Minute)
		c.set(false, func() { c.reading, c.watching = nil, nil })
		time.Sleep(2 * watchRetryMax)
		if all := answered.all(); len(all) != 1 || all[0].Sub(before) > watchRetryMax {
			t.Errorf("told of %v, not of one outage that began at %v", all, before)
		}
	})
}

// A watch that breaks has what is seen read again, once.
func TestBrokenWatchIsStaleOnce(t *testing.T) {
	c := &cluster{version: "5"}
	follow(t, c, func(f *Follower, changed *atomic.Int32, _ *ends) {
		before := changed.Load()
		c.set(true, func() { c.watching = apierrors.NewResourceExpired("compacted") })
		time.Sleep(time.Minute)
		if _, fresh := f.Copy(); fresh || changed.Load() != before+1 {
			t.Errorf("fresh %v, told %d times", fresh, changed.Load()-before)
		}
		if _, err := f.Look(context.Background()); err != nil {
			t.Error(err)
		}
		if _, fresh := f.Copy(); !fresh {
			t.Error("not fresh after a GET")
		}
		if _, lists, watches := c.counts(); lists+watches > 90 {
			t.Errorf("%d LISTs and %d WATCHes in a minute", lists, watches)
		}
	})
}

// A watch that stays open and brings nothing is replaced, once a GET has told.
func TestDeafWatch(t *testing.T) {
	c := &cluster{version: "5"}
	follow(t, c, func(f *Follower, _ *atomic.Int32, _ *ends) {
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
