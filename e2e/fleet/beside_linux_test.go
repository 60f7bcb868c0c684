package fleet

import (
	"os"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestLongBeside compares the program with an older build, whose path is in BASE_PROGRAM. make
// bench builds it from another commit. The two programs take turns, so that other load affects
// both. The new program must not need much more CPU time or memory than the older one.
func TestLongBeside(t *testing.T) {
	testenv.Long(t)
	path := os.Getenv("BASE_PROGRAM")
	if path == "" {
		t.Skip("BASE_PROGRAM is not set; make bench sets it")
	}
	const remotes, times, idle, mostRatio = 1000, 10, 62 * time.Second, 1.25
	compare := func(what string, ours, base, unit float64) {
		t.Helper()
		t.Logf("%-24s %7.1f, base %7.1f, ratio %.2f", what, ours/unit, base/unit, ours/base)
		if ours > mostRatio*base {
			t.Errorf("%s: the ratio is above %.2f", what, mostRatio)
		}
	}
	started := func(program *testenv.Program) (r *run, first float64) {
		r = start(t, remotes, program)
		<-time.After(5 * time.Second) // by then, each remote is watched
		return r, float64(r.cpu())
	}
	base, baseFirst := started(&testenv.Program{Path: path})
	ours, first := started(shipped(t))
	compare("first sync, CPU ms", first, baseFirst, 1e6)
	for _, turn := range []struct {
		what string
		work func(*run)
	}{
		{"a rotation, CPU ms", func(r *run) {
			r.rotate()
			r.synced()
		}},
		{"a scrape, CPU ms", func(r *run) {
			r.scrape()
			<-time.After(1100 * time.Millisecond) // the program reuses a response for a second
		}},
	} {
		var used [2]float64
		for range times {
			for i, r := range []*run{ours, base} {
				before := r.cpu()
				turn.work(r)
				used[i] += float64(r.cpu() - before)
			}
		}
		compare(turn.what, used[0], used[1], 1e6*times)
	}
	before := [2]time.Duration{ours.cpu(), base.cpu()}
	<-time.After(idle)
	compare("idle, % of a core", float64(ours.cpu()-before[0]), float64(base.cpu()-before[1]), float64(idle)/100)
	_, peak, err := ours.Memory()
	testenv.Must(t, err)
	_, most, err := base.Memory()
	testenv.Must(t, err)
	compare("peak memory, MiB", float64(peak), float64(most), 1<<20)
}
