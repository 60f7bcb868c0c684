package regions

import (
	"context"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// atOnce is how soon the other remotes have new keys, whatever one does.
	atOnce = time.Second
	// onReturn is how soon a remote that was stopped has them.
	onReturn = 5 * time.Second
	// unpunished is how soon one that was away longer is looked at again, where
	// its back-off alone would take 30 s at least.
	unpunished = 10 * time.Second
)

// A remote whose machine hangs costs the others nothing, and is equal soon
// after it goes on. It is the first in every order, for the others to wait
// behind it if they ever do.
func TestFrozenRemote(t *testing.T) {
	w, run, keys := everywhere(t, func(w *world) *replica { return w.runShipped() })
	frozen := shared.Cluster("dfw")
	w.Cleanup(func() { _ = frozen.Thaw() })
	seen := w.follow(remotes...)
	w.Must(frozen.Freeze())
	since := time.Now()
	first := w.rotateAtOnce(seen, "iad", "ord")
	second := w.rotateAtOnce(seen, "iad", "ord")
	w.pass(since.Add(20 * time.Second))
	run.shows("dfw", "Unreachable", "")
	w.Must(frozen.Thaw())
	w.returned(seen["dfw"], onReturn, second)
	run.shows("dfw", "Synced", "")
	seen["iad"].only(first, second)
	seen["ord"].only(first, second)
	seen["dfw"].neverBack(keys, first, second)
}

// The same of one that is killed, and started again: nobody waits out an old penalty.
func TestKilledRemote(t *testing.T) {
	w, run, _ := everywhere(t, func(w *world) *replica {
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
	// Many rotations while it was down are one push.
	seen["ord"].only(second)
}

// A partition in which packets are lost: connections are open and dead for
// ever, so new ones have to be made, and sooner than HTTP/2's pings tell of it,
// which is after 35 s.
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

// rotateAtOnce rotates, and fails unless the named remotes have the new keys at once.
func (w *world) rotateAtOnce(seen map[string]*history, names ...string) testenv.Repository {
	w.Helper()
	rotation := w.rotate()
	for _, name := range names {
		w.within(atOnce, seen[name], rotation)
	}
	return rotation.Keys
}

// within fails unless a region had the rotation's keys so soon after it.
func (w *world) within(limit time.Duration, h *history, rotation testenv.Rotation) {
	w.Helper()
	took := w.arrived(h, rotation.Keys).Sub(rotation.Committed)
	if took > limit {
		w.Errorf("%s had primary %d after %v, not within %v", h.region, rotation.Keys.Primary(), took, limit)
	}
}

// returned fails unless a remote that is back since now has the keys in time.
func (w *world) returned(h *history, limit time.Duration, keys testenv.Repository) {
	w.Helper()
	now := time.Now()
	if took := w.arrived(h, keys).Sub(now); took > limit {
		w.Errorf("%s was equal %v after its return, not within %v", h.region, took, limit)
	}
}

// pass lets time pass: an outage is as long as it is.
func (w *world) pass(until time.Time) {
	w.Helper()
	select {
	case <-time.After(time.Until(until)):
	case <-w.Ctx.Done():
		w.Fatal(w.Ctx.Err())
	}
}

// serving has a cluster that was killed serve the tests that come after.
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
