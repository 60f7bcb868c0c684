package bench

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestShare measures the cost of stamping each copy and watching each remote, which would be the
// same for any program. Stamps and watches give the API servers more work, which adds delay if they
// share one machine. The delay until the last of many remotes is equal must be at most 1.25 times
// that of a baseline that stamps and watches.
func TestShare(t *testing.T) {
	for _, size := range shares {
		t.Run(strconv.Itoa(size.remotes), func(t *testing.T) {
			s := newStand(t)
			table := [][]string{{fmt.Sprintf("%d rotations", size.rotations), "p50", "ratio", "own CPU time", "API servers"}}
			programs := []struct {
				name  string
				start func(*stand, *side, int, ...string) *runner
				args  []string
			}{
				{"baseline", (*stand).baseline, nil},
				{"baseline with stamp", (*stand).baseline, []string{"-stamp"}},
				{"baseline with watch", (*stand).baseline, []string{"-watch"}},
				{"baseline with both", (*stand).baseline, []string{"-stamp", "-watch"}},
				{"fernetcast", (*stand).ours, nil},
			}
			sides := s.several(len(programs), size.remotes)
			var all []*runner
			for i, p := range programs {
				r := p.start(s, sides[i], size.remotes, p.args...)
				s.synced(r)
				all = append(all, r)
			}
			s.turns(size.rotations, all...)
			for i, r := range all {
				p50 := testenv.Percentile(r.last, 50)
				table = append(table, []string{programs[i].name, ms(p50), fmt.Sprintf("%.2f", ratio(p50, testenv.Percentile(all[0].last, 50))), r.work(r.used), r.work(r.servers)})
			}
			publish(t, fmt.Sprintf("Cost of stamp and watch, %d remotes", size.remotes), table)
			ours, both := all[4], all[3]
			if x := ratio(testenv.Percentile(ours.last, 50), testenv.Percentile(both.last, 50)); x > mostRatio {
				t.Errorf("p50 is %.2f times that of the baseline that stamps and watches, want at most %.2f", x, mostRatio)
			}
		})
	}
}
