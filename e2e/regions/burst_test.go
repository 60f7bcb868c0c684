package regions

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// burst is so many rotations, all in burstTime where the machine can.
	burst     = 500
	burstTime = 5 * time.Second
	// burstKeys are kept active, which is two seconds of such rotations: a remote
	// that had missed all that it knew would rightly be held.
	burstKeys = 200
	// farAway is how much longer a request to the far remote takes.
	farAway = 200 * time.Millisecond
)

// Five hundred rotations in five seconds: the last one is everywhere, no remote
// goes back on the way there, and one that is far away is not pushed what is
// old by then.
func TestBurst(t *testing.T) {
	w := newWorld(t)
	line := []testenv.Repository{w.keys()}
	w.promote()
	w.join("iad", "ord")
	far := w.outpost("far", "dfw")
	run := w.runShipped("--resync", "1h")
	w.equal(testenv.Soon, line[0], "iad", "ord")
	w.arrived(far.history, line[0])
	run.allShow("Synced", "", "iad", "ord", "far")
	far.Spoil(slow(farAway))
	seen := w.follow("iad", "ord")
	seen["far"] = far.history

	began := time.Now()
	for n := range burst {
		w.pass(began.Add(burstTime * time.Duration(n) / burst))
		rotation, err := w.Home.Rotate(w.Ctx, w.NS, burstKeys)
		w.Must(err)
		line = append(line, rotation.Keys)
	}
	took := time.Since(began)
	for name, h := range seen {
		w.arrived(h, line[burst])
		run.shows(name, "Synced", "")
		h.neverBack(line...)
		t.Logf("%d rotations in %v: %s has had %d versions", burst, took, name, len(h.since()))
	}
	// One push at a time, each of the newest: so many find room.
	if n, most := len(far.since()), int(took/farAway)+3; n > most {
		t.Errorf("the far remote was pushed %d of %d rotations, wanted %d at most", n, burst, most)
	}
}
