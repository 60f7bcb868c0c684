package bench

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// cost holds the costs of a program with a certain number of remotes.
type cost struct {
	remotes    int
	latency    time.Duration // p50 of the delay until the last remote is equal
	memory     int64         // peak resident memory, in bytes
	goroutines int
}

// TestSizes compares the delay until the last remote is equal with the baseline's. It must be at
// most 1.25 times as long for 3 remotes, and 1.75 times for up to 1,000. Memory must be bounded,
// and one more remote must not cost more among many remotes than among few.
func TestSizes(t *testing.T) {
	latency := [][]string{{"remotes", "rotations", "fernetcast p50", "p99", "baseline p50", "p99", "ratio p50", "p99"}}
	costs := [][]string{{"remotes", "fernetcast: memory", "goroutines", "baseline: memory", "goroutines"}}
	work := [][]string{{"remotes", "fernetcast", "API servers", "baseline", "API servers"}}
	var ours, baseline []cost
	for _, size := range sizes {
		t.Run(strconv.Itoa(size.remotes), func(t *testing.T) {
			s := newStand(t)
			a, b := s.sides(size.remotes)
			r, l := s.both(a, b, size.remotes)
			s.turns(size.rotations, r, l)
			ours, baseline = append(ours, s.cost(r)), append(baseline, s.cost(l))
			s.judgeMemory(ours[len(ours)-1])
			work = append(work, []string{strconv.Itoa(size.remotes), r.work(r.used), r.work(r.servers), l.work(l.used), l.work(l.servers)})
			latency = append(latency, s.compare(r, l, size.most))
			costs = append(costs, append(costRow(ours), costRow(baseline)[1:]...))
		})
	}
	write, whole := show, len(baseline) == len(sizes)
	if whole {
		write = publish
	}
	write(t, "Delay to the last remote", latency)
	write(t, "CPU time per remote and rotation", work)
	write(t, "Peak memory and goroutines", costs)
	if !whole {
		return // without all sizes, there is nothing to compare or plot
	}
	judgeGrowth(t, ours)
	if err := plot("../../docs/performance.svg", ours, baseline); err != nil {
		t.Error(err)
	}
}

// compare returns a table row with both programs' delays, and fails the test if their ratio exceeds
// most.
func (s *stand) compare(ours, baseline *runner, most float64) []string {
	s.Helper()
	n := len(ours.places)
	row := []string{strconv.Itoa(n), strconv.Itoa(len(ours.last))}
	for _, r := range []*runner{ours, baseline} {
		row = append(row, ms(testenv.Percentile(r.last, 50)), ms(testenv.Percentile(r.last, 99)))
	}
	for _, p := range []float64{50, 99} {
		x := ratio(testenv.Percentile(ours.last, p), testenv.Percentile(baseline.last, p))
		row = append(row, fmt.Sprintf("%.2f", x))
		// With more remotes, there are so few rotations that p99 is just the slowest rotation.
		if most > 0 && x > most && (p == 50 || n == 3) {
			s.Errorf("p%.0f is %.2f times the baseline's, want at most %.2f", p, x, most)
		}
	}
	return row
}

// work divides the CPU time used by the number of remotes and rotations, and formats the result.
func (r *runner) work(used time.Duration) string {
	return fmt.Sprintf("%.2f ms", ratio(used, time.Millisecond)/float64(len(r.each)))
}

// cost ends the program and returns its costs.
func (s *stand) cost(r *runner) cost {
	s.Helper()
	_, peak, err := r.Memory()
	s.Must(err)
	r.over()
	goroutines, err := r.Goroutines(s.Ctx)
	s.Must(err)
	return cost{len(r.places), testenv.Percentile(r.last, 50), peak, goroutines}
}

func (s *stand) judgeMemory(c cost) {
	s.Helper()
	most := int64(mostMemory)
	if c.remotes > 3 {
		most += mostMemoryEach * int64(c.remotes)
	}
	if c.memory > most {
		s.Errorf("resident memory was %s, want at most %s", mib(c.memory), mib(most))
	}
}

// judgeGrowth compares the cost of one more remote among many remotes with that among few.
func judgeGrowth(t *testing.T, costs []cost) {
	t.Helper()
	at := map[int]cost{}
	for _, c := range costs {
		at[c.remotes] = c
	}
	for name, of := range measures {
		each := func(from, to int) float64 { return (of(at[to]) - of(at[from])) / float64(to-from) }
		few, many := each(10, 300), each(300, 1000)
		t.Logf("each additional remote costs, in %s: %.3f up to 300 remotes, %.3f up to 1,000", name, few, many)
		if many > few*mostGrowth {
			t.Errorf("%s: one more remote costs %.2f times as much with 1,000 remotes as with 300, want at most %.2f", name, many/few, mostGrowth)
		}
	}
}

// measures returns the values that are checked and plotted, by unit.
var measures = map[string]func(cost) float64{
	"milliseconds": func(c cost) float64 { return float64(c.latency) / float64(time.Millisecond) },
	"MiB":          func(c cost) float64 { return float64(c.memory) / (1 << 20) },
	"goroutines":   func(c cost) float64 { return float64(c.goroutines) },
}

func costRow(all []cost) []string {
	c := all[len(all)-1]
	return []string{strconv.Itoa(c.remotes), mib(c.memory), strconv.Itoa(c.goroutines)}
}
