package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestHalfBlack makes half of 1,000 remotes unreachable: packets are lost, and sockets stay open.
// From then on, the other half's p99 delay must be at most 1.25 times that of 500 healthy remotes
// without an unreachable half. The p99 is over all remotes and rotations.
func TestHalfBlack(t *testing.T) {
	const n, half, rotations = 1000, 500, 20
	s := newStand(t)
	a, b := s.sides(n)
	proxies := s.proxies()
	r := s.ours(a.by(proxies, half, n), n)
	s.synced(r)
	alone := s.ours(b, half)
	s.synced(alone)
	s.settle(r)
	for _, proxy := range proxies {
		s.Must(proxy.Set(testenv.Drop))
	}
	fault := time.Now()
	black := r.places[half:]
	r.places = r.places[:half]
	s.turns(rotations, r, alone)
	table := [][]string{{fmt.Sprintf("%d remotes, %d rotations", half, rotations), "each remote, p50", "p99", "last remote, p50"}}
	row := func(name string, r *runner) {
		table = append(table, []string{name, ms(testenv.Percentile(r.each, 50)), ms(testenv.Percentile(r.each, 99)), ms(testenv.Percentile(r.last, 50))})
	}
	row("next to 500 unreachable remotes", r)
	row("alone", alone)
	x := ratio(testenv.Percentile(r.each, 99), testenv.Percentile(alone.each, 99))
	publish(t, "Half of the remotes unreachable", append(table, []string{"ratio", "", fmt.Sprintf("%.2f", x), ""}))
	if x > mostBeside {
		t.Errorf("p99 of the healthy half is %.2f times that of as many healthy remotes without an unreachable half, want at most %.2f", x, mostBeside)
	}
	for _, c := range shared.Clusters(regions...) {
		for _, v := range s.seen[c.Name].Versions() {
			isBlack := func(p place) bool { return p.cluster == c && p.namespace == v.Secret.Namespace }
			if v.Seen.After(fault) && slices.ContainsFunc(black, isBlack) {
				t.Fatalf("%s was written while it was unreachable", v.Secret.Namespace)
			}
		}
	}
}

// proxies returns a proxy for each of the remotes' clusters.
func (s *stand) proxies() map[*testenv.Cluster]*testenv.Proxy {
	s.Helper()
	all := map[*testenv.Cluster]*testenv.Proxy{}
	for _, c := range shared.Clusters(regions...) {
		proxy, err := c.Proxy()
		s.Must(err)
		s.Cleanup(proxy.Close)
		all[c] = proxy
	}
	return all
}
