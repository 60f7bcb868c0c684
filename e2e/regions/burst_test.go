package regions

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// burst is the number of rotations. On a machine that is fast enough, they take burstTime.
	burst     = 500
	burstTime = 5 * time.Second
	// burstKeys is Keystone's setting max_active_keys. It covers two seconds of these rotations. If
	// a remote fell further behind, it would share no key with the source, and would rightly be
	// Held.
	burstKeys = 200
	// farAway is the latency that is added to one remote.
	farAway = 200 * time.Millisecond
)

// TestBurst rotates 500 times in five seconds. Every remote must end with the last key set, and
// none may go back to an older one. A push to the remote with added latency must not contain an
// outdated key set.
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
	// Because pushes to a remote don't overlap, and each contains the newest key set, the latency
	// limits their number.
	if n, most := len(far.since()), int(took/farAway)+3; n > most {
		t.Errorf("the far remote got %d of %d rotations, want at most %d", n, burst, most)
	}
}
