package bench

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/ground"
)

// What the stamp on each copy and the watch on each remote cost, whoever does it:
// both are API servers' work, and on this one machine that is delay. Beside the
// least that does the same, the last of many remotes is equal within 1.25 times.
func TestShare(t *testing.T) {
	for _, size := range shares {
		t.Run(strconv.Itoa(size.remotes), func(t *testing.T) {
			s := newStand(t)
			sides := s.several(5, size.remotes)
			var all []*runner
			for i, does := range [][]string{nil, {"-stamp"}, {"-watch"}, {"-stamp", "-watch"}} {
				all = append(all, s.least(sides[i], size.remotes, does...))
				s.synced(all[i])
			}
			ours := s.ours(sides[4], size.remotes)
			s.synced(ours)
			all = append(all, ours)
			s.turns(size.rotations, all...)
			table := [][]string{{fmt.Sprintf("%d remotes, %d rotations", size.remotes, size.rotations), "p50", "ratio", "itself", "API servers meanwhile"}}
			bare := ground.Percentile(all[0].last, 50)
			for i, name := range []string{"the least possible", "with the stamp", "with the watch", "with both", "fernetcast"} {
				p50 := ground.Percentile(all[i].last, 50)
				table = append(table, []string{name, ms(p50), fmt.Sprintf("%.2f", ratio(p50, bare)), all[i].work(all[i].used), all[i].work(all[i].servers)})
			}
			t.Log(markdown(table))
			if x := ratio(ground.Percentile(ours.last, 50), ground.Percentile(all[3].last, 50)); x > mostRatio {
				t.Errorf("p50 is %.2f times that of the least that does the same, the bar is %.2f", x, mostRatio)
			}
		})
	}
}
