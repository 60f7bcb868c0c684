package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// warmUp is the number of rotations before the ones that are measured.
	warmUp = 3
	// Between two rotations, the test waits until programs and clusters are idle: for the time
	// rest, plus restEach for each remote.
	rest     = 40 * time.Millisecond
	restEach = 400 * time.Microsecond
	// atRest is the share of a core that an idle program may use.
	atRest = 0.1
)

// turns rotates the keys of each side in turn, and records how long the copies took. Each side goes
// first equally often, so that noise affects all sides alike.
func (s *stand) turns(rotations int, runners ...*runner) {
	s.Helper()
	for _, r := range runners {
		s.settle(r)
	}
	for i := range warmUp + rotations {
		for k := range runners {
			r := runners[(i+k)%len(runners)]
			used, servers := s.cpu(r), s.serversCPU()
			took := s.rotate(r)
			<-time.After(rest + restEach*time.Duration(len(r.places)))
			if i >= warmUp {
				r.each = append(r.each, took...)
				r.last = append(r.last, slices.Max(took))
				r.used += s.cpu(r) - used
				r.servers += s.serversCPU() - servers
			}
		}
	}
}

func (s *stand) cpu(r *runner) time.Duration {
	s.Helper()
	used, err := r.CPU()
	s.Must(err)
	return used
}

// serversCPU returns the CPU time that all API servers have used so far, not including etcd.
func (s *stand) serversCPU() time.Duration {
	s.Helper()
	var all time.Duration
	for _, c := range shared.Clusters() {
		used, err := c.Process().CPU()
		s.Must(err)
		all += used
	}
	return all
}

// rotate rotates a side's keys, and returns how long after the source's commit each copy was
// committed. Both times come from watches of the same kind.
func (s *stand) rotate(r *runner) []time.Duration {
	s.Helper()
	rotation, err := s.main.Rotate(s.Ctx, r.namespace, r.keys)
	s.Must(err)
	source, err := s.seen[mainRegion].Await(s.Ctx, func(v testenv.Version) bool {
		return v.Secret.ResourceVersion == rotation.ResourceVersion
	})
	s.Must(err)
	return since(source.Seen, s.copied(r.places, rotation.Keys))
}

// synced waits for a program's first sync, and returns how long after its start each copy was
// committed.
func (s *stand) synced(r *runner) []time.Duration {
	s.Helper()
	source, err := s.main.Secret(s.Ctx, r.namespace)
	s.Must(err)
	return since(r.started, s.copied(r.places, source.Data))
}

// copied waits until every place has the keys, and returns when each was committed.
func (s *stand) copied(places []place, keys testenv.Repository) []time.Time {
	s.Helper()
	waiting := map[string]map[string]bool{} // the namespaces that lack the keys, by cluster
	for _, name := range regions {
		waiting[name] = map[string]bool{}
	}
	for _, p := range places {
		waiting[p.cluster.Name][p.namespace] = true
	}
	var at []time.Time
	for name, namespaces := range waiting {
		if len(namespaces) == 0 {
			continue
		}
		_, err := s.seen[name].Await(s.Ctx, func(v testenv.Version) bool {
			if namespaces[v.Secret.Namespace] && keys.Equal(v.Keys()) {
				delete(namespaces, v.Secret.Namespace)
				at = append(at, v.Seen)
			}
			return len(namespaces) == 0
		})
		if err != nil {
			left := slices.Sorted(maps.Keys(namespaces))
			s.Fatalf("%d copies in %s are not equal, %v first: %v", len(left), name, left[:min(3, len(left))], err)
		}
	}
	return at
}

func since(began time.Time, all []time.Time) []time.Duration {
	var took []time.Duration
	for _, at := range all {
		took = append(took, at.Sub(began))
	}
	return took
}

// settle waits until a program has become idle after its first sync.
func (s *stand) settle(r *runner) {
	s.Helper()
	const every = time.Second
	before := time.Duration(-1)
	s.Must(testenv.Until(s.Ctx, every, func(context.Context) error {
		now, err := r.CPU()
		used, first := now-before, before < 0
		before = now
		if err == nil && (first || float64(used) > atRest*float64(every)) {
			err = fmt.Errorf("the program used %v of CPU time in %v", used, every)
		}
		return err
	}))
}
