package bench

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestDistance measures three remotes with a round-trip time of 100 ms. They must be equal at most
// 100 ms later than three remotes without added delay.
func TestDistance(t *testing.T) {
	const n, rotations, roundTrip = 3, 30, 100 * time.Millisecond
	s := newStand(t)
	a, b := s.sides(n)
	proxies := s.proxies()
	r, l := s.both(a.by(proxies, 0, n), b.by(proxies, 0, n), n)
	s.turns(rotations, r, l)
	near := r.last
	for _, proxy := range proxies {
		proxy.Delay(roundTrip / 2)
	}
	r.last, l.last = nil, nil
	s.turns(rotations, r, l)
	table := [][]string{{"3 remotes", "p50", "p99"}}
	row := func(name string, took []time.Duration) {
		table = append(table, []string{name, ms(testenv.Percentile(took, 50)), ms(testenv.Percentile(took, 99))})
	}
	row("fernetcast, no added delay", near)
	row("fernetcast, 100 ms", r.last)
	row("baseline, 100 ms", l.last)
	publish(t, "Round trip of 100 ms", table)
	for _, p := range []float64{50, 99} {
		if took, most := testenv.Percentile(r.last, p), testenv.Percentile(near, p)+roundTrip; took > most {
			t.Errorf("p%.0f is %v, want at most %v", p, took, most)
		}
	}
}
