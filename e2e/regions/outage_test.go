package regions

import (
	"context"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// atOnce limits how long a healthy remote waits for new keys, whatever another remote does.
	atOnce = time.Second
	// onReturn limits how long a remote waits for new keys after it resumes.
	onReturn = 5 * time.Second
	// unpunished limits how long a remote waits for new keys after a longer outage. With backoff
	// alone, it would wait at least 30 s.
	unpunished = 10 * time.Second
)

// TestFrozenRemote checks a remote whose machine hangs. It must not delay the other remotes, and
// must get the keys soon after it resumes. It comes first in every order, so that if remotes shared
// one queue, it would block the others.
func TestFrozenRemote(t *testing.T) {
	w, run, keys := newSynced(t, func(w *world) *replica { return w.runShipped() })
	frozen := shared.Cluster("dfw")
	w.Cleanup(func() { _ = frozen.Thaw() })
	seen := w.follow(remotes...)
	w.Must(frozen.Freeze())
	since := time.Now()
	first := w.rotateAtOnce(seen, "iad", "ord")
	second := w.rotateAtOnce(seen, "iad", "ord")
	w.sleepUntil(since.Add(20 * time.Second))
	run.shows("dfw", "Unreachable", "")
	w.Must(frozen.Thaw())
	w.returned(seen["dfw"], onReturn, second)
	run.shows("dfw", "Synced", "")
	seen["iad"].only(first, second)
	seen["ord"].only(first, second)
	seen["dfw"].neverBack(keys, first, second)
}

// TestKilledRemote checks a remote that is killed and restarted. It must not delay the other
// remotes. When it returns, it must not wait for the backoff from its outage.
func TestKilledRemote(t *testing.T) {
	w, run, _ := newSynced(t, func(w *world) *replica {
		return w.runShipped("--backoff-initial", "1m", "--backoff-max", "1m")
	})
	killed := shared.Cluster("ord")
	w.Cleanup(func() { w.serving(killed) })
	seen := w.follow(remotes...)
	killed.Kill()
	first := w.rotateAtOnce(seen, "dfw", "iad")
	run.shows("ord", "Unreachable", "refused")
	second := w.rotateAtOnce(seen, "dfw", "iad")
	w.Must(killed.Restart(w.Ctx))
	w.returned(seen["ord"], unpunished, second)
	run.shows("ord", "Synced", "")
	seen["dfw"].only(first, second)
	seen["iad"].only(first, second)
	// The rotations during the outage need only one push.
	seen["ord"].only(second)
}

// TestLostConnections checks a network partition that drops packets. Connections stay open but are
// dead, so fernetcast must open new ones. It must not wait until HTTP/2's pings fail, which takes
// 80 s.
func TestLostConnections(t *testing.T) {
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.join("dfw", "iad")
	proxy, err := shared.Cluster("ord").Proxy()
	w.Must(err)
	w.Cleanup(proxy.Close)
	w.joinAs("ord", testenv.Access{Role: testenv.RemoteRole, Server: proxy.URL()})
	run := w.runShipped("--request-timeout", "2s")
	w.equal(testenv.Soon, keys, remotes...)
	run.allShow("Synced", "", remotes...)
	seen := w.follow(remotes...)
	w.Must(proxy.Set(testenv.Drop))
	first := w.rotateAtOnce(seen, "dfw", "iad")
	run.shows("ord", "Unreachable", "")
	second := w.rotateAtOnce(seen, "dfw", "iad")
	w.Must(proxy.Set(testenv.Pass))
	w.returned(seen["ord"], onReturn, second)
	run.shows("ord", "Synced", "")
	seen["dfw"].only(first, second)
	seen["ord"].neverBack(keys, first, second)
}

// rotateAtOnce rotates, and fails the test unless the named remotes have the new keys within
// atOnce.
func (w *world) rotateAtOnce(seen map[string]*history, names ...string) testenv.Repository {
	w.Helper()
	rotation := w.rotate()
	for _, name := range names {
		w.within(atOnce, seen[name], rotation)
	}
	return rotation.Keys
}

// within fails the test unless a region got the rotation's keys within the limit.
func (w *world) within(limit time.Duration, h *history, rotation testenv.Rotation) {
	w.Helper()
	took := w.arrived(h, rotation.Keys).Sub(rotation.Committed)
	if took > limit {
		w.Errorf("%s got primary %d after %v, want within %v", h.region, rotation.Keys.Primary(), took, limit)
	}
}

// returned fails the test unless a remote that has just become reachable again gets the keys within
// the limit.
func (w *world) returned(h *history, limit time.Duration, keys testenv.Repository) {
	w.Helper()
	now := time.Now()
	if took := w.arrived(h, keys).Sub(now); took > limit {
		w.Errorf("%s got the keys %v after its return, want within %v", h.region, took, limit)
	}
}

// sleepUntil sleeps until a point in time. Use it for a fault that must last a certain time.
func (w *world) sleepUntil(until time.Time) {
	w.Helper()
	select {
	case <-time.After(time.Until(until)):
	case <-w.Ctx.Done():
		w.Fatal(w.Ctx.Err())
	}
}

// serving restarts a killed cluster, so that later tests can use it.
func (w *world) serving(c *testenv.Cluster) {
	if c.Process().Running() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Restart(ctx); err != nil {
		w.Error(err)
	}
}
