package regions

import (
	"context"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
)

// blackTime limits how long new keys take, with default flags, after a connection has started to
// drop packets silently. Because no response arrives, fernetcast can't tell immediately that the
// connection is dead.
const blackTime = 15 * time.Second

// pinged limits how long a silent connection that no request uses stays unnoticed: It takes 75 s
// until a ping, 5 s until the ping fails, and longer on a slow machine.
const pinged = 90 * time.Second

// TestBlackRemote checks a remote whose open connections silently drop all packets, as after a
// firewall loses their state. New connections work. The remote must get new keys within blackTime,
// and the other remotes immediately.
func TestBlackRemote(t *testing.T) {
	w, run, keys, wall := proxied(t, "dfw")
	seen := w.follow(remotes...)
	wall.Lose()
	rotation := w.rotate()
	w.within(atOnce, seen["iad"], rotation)
	w.within(atOnce, seen["ord"], rotation)
	w.within(blackTime, seen["dfw"], rotation)
	run.allShow("Synced", "", remotes...)
	for _, h := range seen {
		h.only(rotation.Keys)
		h.neverBack(keys, rotation.Keys)
	}
}

// TestBlackSource checks a main region whose open connection silently drops all packets. At that
// time, only the watch uses the connection, so none of fernetcast's requests fails.
func TestBlackSource(t *testing.T) {
	t.Parallel()
	w, run, keys, wall := proxied(t, mainRegion)
	seen := w.follow(remotes...)
	wall.Lose()
	rotation := w.rotate()
	for _, name := range remotes {
		w.within(blackTime, seen[name], rotation)
	}
	run.allShow("Synced", "", remotes...)
	for _, h := range seen {
		h.only(rotation.Keys)
		h.neverBack(keys, rotation.Keys)
	}
}

// TestLongBlackWatch checks that only pings reveal a silent connection if no request uses it. Drift in
// the remote must then be repaired.
func TestLongBlackWatch(t *testing.T) {
	testenv.Long(t)
	w, run, keys, wall := proxied(t, "dfw", "--resync", "1h")
	w.sleepUntil(time.Now().Add(2 * time.Second)) // by then, the watch is open
	wall.Lose()
	w.Must(shared.Cluster("dfw").Edit(w.Ctx, w.NS, rival, func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) }))
	w.Within(pinged, func(ctx context.Context) error { return shared.Cluster("dfw").Holds(ctx, w.NS, keys) })
	run.allShow("Synced", "", remotes...)
}

// proxied is like newSynced, except that fernetcast reaches one region through a proxy.
func proxied(t *testing.T, region string, args ...string) (*world, *replica, testenv.Repository, *testenv.Proxy) {
	t.Helper()
	wall, err := shared.Cluster(region).Proxy()
	testenv.Must(t, err)
	t.Cleanup(wall.Close)
	w, run, keys := newSynced(t, func(w *world) *replica {
		built := w.Shipped()
		flags := w.Runner.Args
		if region == mainRegion {
			flags = w.flagsVia(wall.URL())
		} else {
			w.joinAs(region, testenv.Access{Role: testenv.RemoteRole, Server: wall.URL()})
		}
		return w.runProgram(built.With(flags...), args...)
	})
	return w, run, keys, wall
}
