package regions

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
)

// TestLongClockOff runs fernetcast with a clock that is an hour ahead or behind. The first sync,
// rotations, repairs by watch and by GET, and a contest must work as usual. The test takes long,
// because every package must be recompiled with the shifted clock.
func TestLongClockOff(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	shifted, err := shared.ShiftedProgram(t.Context())
	testenv.Must(t, err)
	for name, off := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const quiet = 5 * time.Second
			w := newWorld(t)
			keys := w.keys()
			w.promote()
			w.join("dfw", "ord")
			w.joinAs("iad", testenv.Access{Role: testenv.GenestackRole})
			seen := w.follow(remotes...)
			run := w.runProgram(shifted.ShiftedBy(off).With(w.Runner.Args...), "--resync", "2s", "--backoff-max", quiet.String())
			w.equal(testenv.Soon, keys, remotes...)
			run.allShow("Synced", "", remotes...)
			run.clockIsOff(off)

			rotation := w.rotate()
			w.equal(testenv.Soon, rotation.Keys, remotes...)
			drift := func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) }
			w.edit(shared.Cluster("iad"), rival, drift)
			w.equal(testenv.Soon, rotation.Keys, remotes...)

			// The first drift is repaired. The second starts a contest, which ends after a quiet
			// period.
			w.edit(shared.Cluster("dfw"), rival, drift)
			w.equal(testenv.Soon, rotation.Keys, "dfw")
			run.shows("dfw", "Synced", "")
			w.edit(shared.Cluster("dfw"), rival, drift)
			run.shows("dfw", "Contested", rival)
			w.equal(testenv.Soon, rotation.Keys, "dfw")
			run.allShow("Synced", "", remotes...)

			last := w.rotate()
			w.equal(testenv.Soon, last.Keys, remotes...)
			run.allShow("Synced", "", remotes...)
			seen["ord"].only(keys, rotation.Keys, last.Keys)
			for _, h := range seen {
				h.fenced()
			}
		})
	}
}

// clockIsOff fails the test unless the log's timestamps are off by about that duration.
func (r *replica) clockIsOff(off time.Duration) {
	r.w.Helper()
	first, _, _ := strings.Cut(r.Stderr.String(), "\n")
	var line struct{ Time time.Time }
	r.w.Must(json.Unmarshal([]byte(first), &line))
	if really := time.Until(line.Time) - off; really.Abs() > testTime {
		r.w.Fatalf("the log has the time %v, which is not off by %v", line.Time, off)
	}
}
