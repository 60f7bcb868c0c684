package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	rotations = 50
	warmUp    = 5
	// pace is the time between two rotations, for both to begin at rest.
	pace = 100 * time.Millisecond
	// mostRatio, mostMemory and mostFirst are the bars.
	mostRatio  = 1.5
	mostMemory = 48 << 20
	mostFirst  = 2 * time.Second
	starts     = 5
)

// The last of three remotes is equal within 1.5 times the least possible. Both
// take turns, so whatever else the machine does, it does to both.
func TestPropagation(t *testing.T) {
	ours, least := newStand(t), newStand(t)
	process := ours.run(ours.program())
	ours.lastEqual(ours.keys)
	least.startLeast()
	var took, leastTook []time.Duration
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := range warmUp + rotations {
		<-tick.C
		a := ours.rotate()
		<-tick.C
		b := least.rotate()
		if i >= warmUp {
			took, leastTook = append(took, a), append(leastTook, b)
		}
	}
	now, peak, err := process.Memory()
	ours.must(err)
	ratio := float64(percentile(took, 50)) / float64(percentile(leastTook, 50))
	t.Log(table([][]string{
		{fmt.Sprintf("last of %d remotes equal, %d rotations", len(remotes), rotations), "p50", "p99"},
		{"fernetcast", ms(percentile(took, 50)), ms(percentile(took, 99))},
		{"the least possible", ms(percentile(leastTook, 50)), ms(percentile(leastTook, 99))},
		{"ratio", fmt.Sprintf("%.2f", ratio), fmt.Sprintf("%.2f", float64(percentile(took, 99))/float64(percentile(leastTook, 99)))},
	}))
	t.Log(table([][]string{
		{fmt.Sprintf("resident memory after %d rotations", warmUp+rotations), "now", "peak"},
		{"fernetcast", mib(now), mib(peak)},
	}))
	if ratio > mostRatio {
		t.Errorf("p50 is %.2f times the least possible, the bar is %.2f", ratio, mostRatio)
	}
	if peak > mostMemory {
		t.Errorf("it had %s resident, the bar is %s", mib(peak), mib(mostMemory))
	}
}

// Three remotes without the Secret have it within 2 s of the process's start.
func TestFirstSync(t *testing.T) {
	var took []time.Duration
	for range starts {
		s := newStand(t)
		program := s.program()
		started := time.Now()
		process := s.run(program)
		took = append(took, s.lastEqual(s.keys).Sub(started))
		process.Kill()
	}
	worst := slices.Max(took)
	t.Log(table([][]string{
		{fmt.Sprintf("process start to last of %d remotes equal, %d starts", len(remotes), starts), "p50", "worst"},
		{"fernetcast", ms(percentile(took, 50)), ms(worst)},
	}))
	if worst > mostFirst {
		t.Errorf("a first sync took %v, the bar is %v", worst, mostFirst)
	}
}

// percentile is by nearest rank.
func percentile(all []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

func table(rows [][]string) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	// A strings.Builder never fails.
	_ = w.Flush()
	return out.String()
}
