package regions

import (
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestRestarts kills and restarts the API server or etcd of the source, of a remote, or of both.
// Other remotes must not be affected. Afterward, the watches alone must make all copies match,
// without a resync or a restart of fernetcast.
func TestRestarts(t *testing.T) {
	w, names := newApart(t)
	line := []testenv.Repository{w.keys()}
	w.promote()
	w.join(names...)
	run := w.runShipped("--resync", "1h")
	w.equal(testenv.Soon, line[0], names...)
	run.allShow("Synced", "", names...)
	seen := w.follow(names...)
	source, remote := shared.Cluster(apartMain), shared.Cluster(apartRemote)
	for _, fault := range []struct {
		name  string
		kill  func(*testenv.Cluster)
		start func(*testenv.Cluster) error
		// noticed reports whether the fault ends the watch.
		noticed bool
	}{
		{"API server", func(c *testenv.Cluster) { c.Kill() }, func(c *testenv.Cluster) error { return c.Restart(w.Ctx) }, true},
		{"etcd", func(c *testenv.Cluster) { c.Etcd.Kill() }, func(c *testenv.Cluster) error { return c.Etcd.Restart(w.Ctx) }, false},
	} {
		for _, victims := range [][]*testenv.Cluster{{source}, {remote}, {source, remote}} {
			for _, c := range victims {
				fault.kill(c)
			}
			if victims[0] == remote {
				line = append(line, w.rotateAtOnce(seen, "dfw"))
				run.shows(apartRemote, "Unreachable", "")
			} else if fault.noticed {
				run.source("Main", "cannot be read")
			}
			for _, c := range victims {
				w.Must(fault.start(c))
				w.back(c)
			}
			if victims[0] == remote {
				w.equal(testenv.Soon, line[len(line)-1], names...)
			}
			line = append(line, w.rotate().Keys)
			w.equal(testenv.Soon, line[len(line)-1], names...)
			run.allShow("Synced", "", names...)
			run.stays()
			t.Logf("%s of %d killed and started", fault.name, len(victims))
		}
	}
	for _, h := range seen {
		h.only(line[1:]...)
	}
}
