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
