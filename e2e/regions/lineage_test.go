package regions

import (
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestOutageOfManyRotations checks a remote that misses so many rotations that the source no longer
// has any of its keys. A run that has seen all these rotations must update the remote when it
// returns. A run that started in between can't tell whether the key sets are related, and must
// leave the decision to an operator.
func TestOutageOfManyRotations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	proxy, err := shared.Cluster("dfw").Proxy()
	w.Must(err)
	w.joinAs("dfw", testenv.Access{Role: testenv.RemoteRole, Server: proxy.URL()})
	w.join("iad")
	run := w.run()
	seen := w.follow("dfw")["dfw"]
	w.arrived(seen, keys)
	outage := func() (last testenv.Repository) {
		w.Must(proxy.Set(testenv.Refuse))
		for range 10 {
			rotation, err := w.Home.Rotate(w.Ctx, w.NS, 3)
			w.Must(err)
			last = rotation.Keys
		}
		run.shows("iad", "Synced", "")
		return last
	}
	last := outage()
	w.Must(proxy.Set(testenv.Pass))
	w.arrived(seen, last)

	outage()
	run.end()
	run = w.run()
	w.Must(proxy.Set(testenv.Pass))
	run.shows("dfw", "Held", "Discontinuous")
	w.Must(shared.Cluster("dfw").Holds(w.Ctx, w.NS, last))
}
