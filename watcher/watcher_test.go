package watcher

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// A slow cluster delays the response to each GET. The response has the version from before the
// delay.
type slow struct {
	*cluster
	number atomic.Int64
}

func (s *slow) Get(ctx context.Context, name string) (*corev1.Secret, error) {
	v := []string{"1", "2", "3"}[s.number.Load()]
	time.Sleep(100 * time.Millisecond)
	_, _ = s.cluster.Get(ctx, name)
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: v}}, nil
}

// Get never uses a request that started before the call. All callers that wait share the next
// request, so they need only one.
func TestGetIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slow{cluster: &cluster{}}
		w := watching(c, Options{})
		var callers sync.WaitGroup
		callers.Go(func() { _, _ = w.Get(t.Context()) })
		time.Sleep(10 * time.Millisecond)
		c.number.Store(1) // the running GET doesn't return this version
		for range 100 {
			callers.Go(func() {
				if seen, err := w.Get(t.Context()); seen.ResourceVersion() != "2" || err != nil {
					t.Errorf("Get returned version %q from before the call, error %v", seen.ResourceVersion(), err)
				}
			})
		}
		callers.Wait()
		if gets, _, _ := c.counts(); gets != 2 {
			t.Errorf("%d requests, want 2", gets)
		}
	})
}

// If one caller of a shared GET gives up, the others still get their results.
func TestGetGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slow{cluster: &cluster{}}
		w := watching(c, Options{})
		var callers sync.WaitGroup
		callers.Go(func() { _, _ = w.Get(t.Context()) })
		time.Sleep(10 * time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.Get(ctx); err == nil {
			t.Error("no error")
		}
		callers.Wait()
	})
}

// A failed GET returns the last known source and an error.
func TestGetFails(t *testing.T) {
	c := &cluster{version: "5"}
	w := watching(c, Options{})
	if _, err := w.Get(t.Context()); err != nil || !w.Read() {
		t.Fatal(err)
	}
	c.down = errDown
	seen, err := w.Get(t.Context())
	if err == nil || w.Err() == nil || seen.ResourceVersion() != "5" {
		t.Errorf("seen %q, error %v", seen.ResourceVersion(), err)
	}
	c.down, c.version = nil, ""
	if seen, err = w.Get(t.Context()); err != nil || w.Err() != nil || seen.ResourceVersion() != "" {
		t.Errorf("absent: seen %q, error %v", seen.ResourceVersion(), err)
	}
}

// run runs a Watcher in a synctest bubble, and counts the calls to changed.
func run(t *testing.T, c *cluster, story func(w *Watcher, changes *atomic.Int32)) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(c, Options{Resync: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		var changes atomic.Int32
		var running sync.WaitGroup
		running.Go(func() { w.Run(ctx, func() { changes.Add(1) }) })
		time.Sleep(time.Minute)
		c.counts()
		story(w, &changes)
		cancel()
		running.Wait()
	})
}

func (w *Watcher) sees(t *testing.T, version string) {
	t.Helper()
	if seen, fresh := w.Seen(); seen.ResourceVersion() != version || !fresh {
		t.Errorf("seen %q, fresh %v; want %q", seen.ResourceVersion(), fresh, version)
	}
}

// The informer delivers each change immediately. In addition, the Watcher reads the source
// periodically.
func TestRun(t *testing.T) {
	c := &cluster{version: "5"}
	run(t, c, func(w *Watcher, changes *atomic.Int32) {
		if n := changes.Load(); n != 1 {
			t.Errorf("%d calls to changed at the start, want 1", n)
		}
		c.becomes("6")
		synctest.Wait()
		w.sees(t, "6")
		c.set(func(c *cluster) { c.version = "" })
		c.bring(watch.Deleted, "7")
		synctest.Wait()
		w.sees(t, "")
		time.Sleep(time.Hour)
		gets, lists, watches := c.counts()
		if gets < 50 || gets > 75 || lists+watches > 0 || changes.Load() != 3 {
			t.Errorf("%d GETs, %d LISTs, and %d WATCHes in an hour; %d calls to changed in total", gets, lists, watches, changes.Load())
		}
	})
}

// If the source is absent at the start, the watch delivers no event, but the Watcher still reports
// the absence.
func TestAbsentAtTheStart(t *testing.T) {
	c := &cluster{}
	run(t, c, func(w *Watcher, changes *atomic.Int32) {
		w.sees(t, "")
		time.Sleep(time.Hour)
		if gets, _, watches := c.counts(); gets > 75 || watches > 0 || changes.Load() != 1 {
			t.Errorf("%d GETs and %d WATCHes in an hour, %d calls to changed", gets, watches, changes.Load())
		}
		c.set(func(c *cluster) { c.version = "9" })
		c.bring(watch.Added, "9")
		synctest.Wait()
		w.sees(t, "9")
	})
}

// After an outage of any length, the source watch works again within 3 s.
func TestOutage(t *testing.T) {
	c := &cluster{version: "5"}
	run(t, c, func(w *Watcher, _ *atomic.Int32) {
		c.cut(errDown)
		time.Sleep(time.Hour)
		if gets, lists, _ := c.counts(); gets > 4000 || lists > 400 {
			t.Errorf("%d GETs and %d LISTs during an outage of an hour", gets, lists)
		}
		c.cut(nil)
		c.becomes("6")
		time.Sleep(3*time.Second + retryMax/2) // the last delay of the backoff has jitter
		w.sees(t, "6")
		if _, _, watches := c.counts(); watches == 0 {
			t.Error("the source is not watched again")
		}
	})
}

// However the watch is broken, a rotation is seen within a second, and client-go's requests back
// off. After the watch recovers, GETs become rare again.
func TestBrokenWatch(t *testing.T) {
	for what, spoil := range map[string]func(*cluster){
		"refused": func(c *cluster) { c.watching = errGone },
		"ends at once": func(c *cluster) {
			go func() {
				for range 10_000 {
					time.Sleep(10 * time.Millisecond)
					c.cut(nil)
				}
			}()
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := &cluster{version: "5"}
			run(t, c, func(w *Watcher, _ *atomic.Int32) {
				c.set(spoil)
				c.cut(nil)
				time.Sleep(40 * time.Second)
				c.counts()
				c.set(func(c *cluster) { c.version = "6" })
				time.Sleep(time.Second)
				// The source counts as fresh only if the watch hasn't ended since the last GET, so
				// don't check fresh here.
				if seen, _ := w.Seen(); seen.ResourceVersion() != "6" {
					t.Errorf("a second after the rotation, version %q is seen, want \"6\"", seen.ResourceVersion())
				}
				time.Sleep(9 * time.Second)
				if gets, lists, watches := c.counts(); gets > 25 || lists+watches > 20 {
					t.Errorf("%d GETs, %d LISTs, and %d WATCHes in 10 s", gets, lists, watches)
				}
				time.Sleep(2 * time.Minute)
				c.set(func(c *cluster) { c.watching = nil })
				time.Sleep(5 * time.Minute)
				c.counts()
				time.Sleep(10 * time.Minute)
				if gets, _, watches := c.counts(); gets > 15 || watches > 1 {
					t.Errorf("whole again, in 10 min %d GETs, %d WATCHes", gets, watches)
				}
			})
		})
	}
}

// A watch that stays open without delivering events delays only one rotation, by at most a minute.
// A new informer starts 5 s after a GET has found the change. From then until a watch delivers
// something, each rotation is seen within a second.
func TestDeafWatch(t *testing.T) {
	c := &cluster{version: "5"}
	run(t, c, func(w *Watcher, _ *atomic.Int32) {
		c.set(func(c *cluster) { c.stalled = true })
		c.becomes("6")
		time.Sleep(90 * time.Second)
		w.sees(t, "6")
		if _, lists, _ := c.counts(); lists != 1 {
			t.Errorf("%d informers started, want 1", lists)
		}
		c.becomes("7") // the new watch stalls, too
		time.Sleep(time.Second)
		w.sees(t, "7")
		c.set(func(c *cluster) { c.stalled = false })
		time.Sleep(time.Minute) // by now, another watch has started, and it works
		c.becomes("8")
		synctest.Wait()
		w.sees(t, "8")
		time.Sleep(time.Second)
		c.counts()
		time.Sleep(10 * time.Minute)
		if gets, _, watches := c.counts(); gets > 15 || watches > 0 {
			t.Errorf("whole again, in 10 min %d GETs, %d WATCHes", gets, watches)
		}
	})
}

// A watch that stalls after it has delivered events is handled like one that never delivered any:
// the source is read frequently until the next watch delivers something.
func TestDeafAfterItHasHeard(t *testing.T) {
	c := &cluster{version: "5"}
	run(t, c, func(w *Watcher, _ *atomic.Int32) {
		c.becomes("6")
		synctest.Wait()
		w.sees(t, "6")
		c.set(func(c *cluster) { c.stalled = true })
		c.becomes("7")
		time.Sleep(90 * time.Second)
		w.sees(t, "7")
		c.becomes("8")
		time.Sleep(time.Second)
		w.sees(t, "8")
	})
}

// A bookmark is enough to show that a watch works.
func TestBookmarkAfterDeafness(t *testing.T) {
	c := &cluster{version: "5"}
	run(t, c, func(_ *Watcher, _ *atomic.Int32) {
		c.set(func(c *cluster) { c.stalled = true })
		c.becomes("6")
		time.Sleep(90 * time.Second)
		c.bring(watch.Bookmark, "99")
		time.Sleep(time.Second)
		c.counts()
		time.Sleep(10 * time.Minute)
		if gets, _, _ := c.counts(); gets > 15 {
			t.Errorf("%d GETs in 10 min", gets)
		}
	})
}

// After etcd is restored, resourceVersions start again at a lower number. A new informer starts
// immediately, because the current watch waits for higher versions.
func TestRewound(t *testing.T) {
	c := &cluster{version: "9"}
	run(t, c, func(w *Watcher, _ *atomic.Int32) {
		c.set(func(c *cluster) { c.version = "5" })
		if _, err := w.Get(context.Background()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		w.sees(t, "5")
		if _, lists, _ := c.counts(); lists != 1 {
			t.Errorf("%d informers started, want 1", lists)
		}
	})
}
