package watcher

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An etcd that was restored gives resourceVersions a second time, and a watch
// from one that has not come again brings nothing: it is begun anew, once.
func TestRewound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(secretAt("9"), nil)}
		w := versions(c, Options[string]{Poll: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { w.Run(ctx) })
		time.Sleep(time.Second)
		_ = store[string]{w}.Update(secretAt("9"))
		_, before := c.counts()
		for _, version := range []string{"5", "5", "6"} {
			c.mu.Lock()
			c.get = answer(secretAt(version), nil)
			c.mu.Unlock()
			if seen, err := w.Get(ctx); seen != version || err != nil {
				t.Errorf("seen %s, %v after a GET of %s", seen, err, version)
			}
			synctest.Wait()
		}
		if _, watches := c.counts(); watches != before+1 {
			t.Errorf("%d WATCHes after the resourceVersion went back, want 1", watches-before)
		}
		cancel()
		run.Wait()
	})
}

// A restore need not show in the Secret's own version: it was not written since,
// or was not there. A watch that does not bring what a GET has found a while ago
// is begun anew, and one that does is not.
func TestDeaf(t *testing.T) {
	for what, deaf := range map[string]bool{"the watch is deaf": true, "the watch only lags": false} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cluster{get: answer(nil, errNotFound)}
				w := versions(c, Options[string]{Poll: time.Minute})
				ctx, cancel := context.WithCancel(t.Context())
				var run sync.WaitGroup
				run.Go(func() { w.Run(ctx) })
				time.Sleep(10 * time.Minute) // absent, and known to be
				_, before := c.counts()
				c.mu.Lock()
				c.get = answer(secretAt("5"), nil)
				c.mu.Unlock()
				if seen, err := w.Get(ctx); seen != "5" || err != nil {
					t.Errorf("seen %s, %v", seen, err)
				}
				if !deaf {
					_ = store[string]{w}.Update(secretAt("5"))
				}
				time.Sleep(10 * time.Minute)
				if _, watches := c.counts(); (watches > before) != deaf {
					t.Errorf("%d WATCHes after a change that a GET has found", watches-before)
				}
				cancel()
				run.Wait()
			})
		})
	}
}
