package bench

import (
	"fmt"
	"testing"
	"time"
)

// TestIdle checks that with 1,000 remotes, no changes, and the default resync, the program uses
// less than 2% of a core.
func TestIdle(t *testing.T) {
	const n, watched = 1000, 61 * time.Second // long enough for a complete resync
	s := newStand(t)
	a, b := s.sides(n)
	r, l := s.both(a, b, n)
	programs := map[string]*runner{"fernetcast": r, "baseline": l}
	before := map[string]time.Duration{}
	for name, r := range programs {
		s.settle(r)
		before[name] = s.cpu(r)
	}
	began := time.Now()
	<-time.After(watched)
	table := [][]string{{"1,000 idle remotes", "CPU", "memory"}}
	for _, name := range []string{"fernetcast", "baseline"} {
		r := programs[name]
		used := ratio(s.cpu(r)-before[name], time.Since(began))
		now, _, err := r.Memory()
		s.Must(err)
		table = append(table, []string{name, fmt.Sprintf("%.2f%% of a core", 100*used), mib(now)})
		if name == "fernetcast" && used > mostIdle {
			t.Errorf("run used %.2f%% of a core, want at most %.2f%%", 100*used, 100*mostIdle)
		}
	}
	publish(t, "Idle", table)
	if n := r.scrapes.Load(); n < 4 {
		t.Errorf("the metrics were scraped %d times", n)
	} else {
		t.Logf("%d scrapes took %s each", n, ms(time.Duration(r.scraping.Load()/n)))
	}
}
