package regions

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// blackTime limits how long new keys take, with default flags, after a connection has started to
// drop packets silently. Without an answer, fernetcast can't tell at once that the connection is
// dead.
const blackTime = 15 * time.Second

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

// proxied is like newSynced, except that fernetcast reaches one region through a proxy.
func proxied(t *testing.T, region string) (*world, *replica, testenv.Repository, *testenv.Proxy) {
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
		return w.runProgram(built.With(flags...))
	})
	return w, run, keys, wall
}
