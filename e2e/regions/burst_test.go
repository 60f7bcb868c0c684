package regions

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// burst is the number of rotations. They take burstTime if the machine is fast enough.
	burst     = 500
	burstTime = 5 * time.Second
	// burstKeys is max_active_keys, which covers two seconds of these rotations. A remote that
	// shares no key with the source would rightly be Held.
	burstKeys = 200
	// farAway is the additional latency of the far remote.
	farAway = 200 * time.Millisecond
)

// TestBurst rotates 500 times in five seconds. Every remote must end with the last key set, and
// none may go back to an older one. The far remote must not receive outdated key sets.
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
		w.sleepUntil(began.Add(burstTime * time.Duration(n) / burst))
		rotation, err := w.Home.Rotate(w.Ctx, w.NS, burstKeys)
		w.Must(err)
		line = append(line, rotation.Keys)
	}
	took := time.Since(began)
	for name, h := range seen {
		w.arrived(h, line[burst])
		run.shows(name, "Synced", "")
		h.neverBack(line...)
		t.Logf("%d rotations in %v: %s had %d versions", burst, took, name, len(h.since()))
	}
	// Pushes to a remote don't overlap, and each contains the newest key set. That limits their
	// number.
	if n, most := len(far.since()), int(took/farAway)+3; n > most {
		t.Errorf("the far remote got %d of %d rotations, want at most %d", n, burst, most)
	}
}
