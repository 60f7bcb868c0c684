package regions

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// blackTime is how soon keys arrive where a connection went black, with the
// flags as they are by default: nothing on it tells of that.
const blackTime = 15 * time.Second

// A remote's connection goes black, as when a firewall forgets it. New ones
// work: the remote is equal in time, the others at once.
func TestBlackRemote(t *testing.T) {
	w, run, keys, wall := walled(t, "dfw")
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

// The same of the connection to the main, which the watch alone uses: it hears
// nothing, and no request of ours finds out.
func TestBlackSource(t *testing.T) {
	t.Parallel()
	w, run, keys, wall := walled(t, mainRegion)
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

// walled is a world as everywhere makes it, with the program's connections to
// one region through a proxy.
func walled(t *testing.T, region string) (*world, *replica, testenv.Repository, *testenv.Proxy) {
	t.Helper()
	wall, err := shared.Cluster(region).Proxy()
	testenv.Must(t, err)
	t.Cleanup(wall.Close)
	w, run, keys := everywhere(t, func(w *world) *replica {
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
