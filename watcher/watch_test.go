package watcher

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A WATCH that is never answered does not keep the watcher, and its connection, for ever.
func TestWatchHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(secretAt("5"), nil), hang: true}
		var timeouts atomic.Int32
		w := versions(c, Options[string]{TimedOut: func() { timeouts.Add(1) }})
		_, err := w.begin(t.Context(), metav1.ListOptions{})
		synctest.Wait()
		if err == nil || timeouts.Load() != 1 {
			t.Errorf("error %v, %d time-outs", err, timeouts.Load())
		}
	})
}

// Where the token may read and not watch, the reflector ends, and does not
// list for ever; the watch is tried again, ever more seldom.
func TestForbiddenWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(secretAt("5"), nil), watchErr: errForbidden}
		w := versions(c, Options[string]{})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { w.Run(ctx) })
		time.Sleep(24 * time.Hour)
		if _, watches := c.counts(); watches < 24 || watches > 150 {
			t.Errorf("%d WATCHes in a day", watches)
		}
		cancel()
		run.Wait()
	})
}

// An API server that starts forbids everything for a moment. That is no reason
// to stop watching.
func TestForbiddenAtAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(nil, errForbidden), watchErr: errForbidden}
		w := versions(c, Options[string]{})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { w.Run(ctx) })
		time.Sleep(time.Minute)
		c.mu.Lock()
		c.get, c.watchErr, c.watches = answer(secretAt("5"), nil), nil, 0
		c.mu.Unlock()
		time.Sleep(2 * watchRetryMax)
		if _, watches := c.counts(); watches == 0 {
			t.Error("the watch is not back within seconds")
		}
		cancel()
		run.Wait()
	})
}

// With Poll the Secret is read again and again, soon after a failure, and at
// once when the watch breaks.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(secretAt("5"), nil)}
		w := versions(c, Options[string]{Poll: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { w.poll(ctx) })
		time.Sleep(time.Hour)
		if gets, _ := c.counts(); gets < 50 || gets > 61 {
			t.Errorf("%d GETs in an hour", gets)
		}
		c.mu.Lock()
		c.get, c.gets = answer(nil, errForbidden), 0
		c.mu.Unlock()
		time.Sleep(time.Hour)
		if gets, _ := c.counts(); gets < 500 || gets > 2500 {
			t.Errorf("%d GETs in an hour of failures", gets)
		}
		cancel()
		run.Wait()
	})
}
