package bench

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestFirstSync measures how long it takes until remotes without the Secret have it. For 1,000
// remotes, this may take at most 1.5 times as long as the baseline takes, and for 3, at most 2 s
// from the start of the process.
func TestFirstSync(t *testing.T) {
	table := [][]string{{"remotes", "starts", "fernetcast p50", "slowest", "baseline p50", "slowest", "ratio p50"}}
	for _, size := range []struct{ remotes, starts int }{{3, 5}, {1000, 3}} {
		var took, baselineTook []time.Duration
		for range size.starts {
			took = append(took, firstSync(t, (*stand).ours, size.remotes))
			baselineTook = append(baselineTook, firstSync(t, (*stand).baseline, size.remotes))
		}
		x := ratio(testenv.Percentile(took, 50), testenv.Percentile(baselineTook, 50))
		row := []string{strconv.Itoa(size.remotes), strconv.Itoa(size.starts)}
		for _, all := range [][]time.Duration{took, baselineTook} {
			row = append(row, ms(testenv.Percentile(all, 50)), ms(slices.Max(all)))
		}
		table = append(table, append(row, fmt.Sprintf("%.2f", x)))
		if worst := slices.Max(took); size.remotes == 3 && worst > mostFirst {
			t.Errorf("a first sync of 3 took %v, want at most %v", worst, mostFirst)
		}
		if size.remotes == 1000 && x > mostFirstRatio {
			t.Errorf("a first sync of 1,000 takes %.2f times as long as the baseline, want at most %.2f", x, mostFirstRatio)
		}
	}
	publish(t, "First sync", table)
}

// firstSync returns how long a program takes, from its start, to sync n remotes without the Secret.
// No other program runs.
func firstSync(t *testing.T, start func(*stand, *side, int, ...string) *runner, n int) (took time.Duration) {
	t.Run("", func(t *testing.T) {
		s := newStand(t)
		side, _ := s.sides(n)
		took = slices.Max(s.synced(start(s, side, n)))
	})
	if t.Failed() {
		t.FailNow()
	}
	return took
}
