// Package bench measures the release build with a main region and up to 1,000 remotes, and compares
// it with a baseline that does the minimum. It doesn't run with the other tests, because the
// results are meaningful only on a quiet machine.
package bench

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	mainRegion = "sjc"
	// scrapeEvery is the interval at which a Prometheus would read the metrics.
	scrapeEvery = 15 * time.Second
)

var (
	shared *testenv.Env
	// regions lists the clusters whose namespaces serve as remotes.
	regions = []string{"dfw", "iad", "ord"}
)

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, &shared, append([]string{mainRegion}, regions...)...))
}

// stand gives one test access to all clusters. Its context ends when a program that it started
// exits.
type stand struct {
	*testenv.Stage
	fail context.CancelCauseFunc
	main *testenv.Cluster
	seen map[string]*testenv.History
}

func newStand(t *testing.T) *stand {
	t.Helper()
	limited, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	ctx, fail := context.WithCancelCause(limited)
	t.Cleanup(func() { fail(nil); cancel() })
	s := &stand{Stage: &testenv.Stage{T: t, Env: shared, Ctx: ctx}, fail: fail, main: shared.Cluster(mainRegion), seen: map[string]*testenv.History{}}
	for _, c := range shared.Clusters() {
		history, err := c.FollowAll(ctx)
		s.Must(err)
		t.Cleanup(history.Stop)
		s.seen[c.Name] = history
	}
	return s
}

// runner is a running program together with its side.
type runner struct {
	*testenv.Process
	*side
	// places are the places whose copies are measured.
	places  []place
	started time.Time
	// over marks the program's exit as expected. Call it before stopping the program; otherwise, the
	// exit fails the test.
	over func()
	// last has the delay of the slowest place in each rotation, and each has the delays of all
	// places in all rotations.
	last, each []time.Duration
	// scrapes counts successful scrapes, and scraping is their total time in nanoseconds.
	scrapes, scraping atomic.Int64
	// used is the program's CPU time during its turns, and servers is the API servers' CPU time
	// during the same turns.
	used, servers time.Duration
}

// ours starts the release build for a side's first n places, and scrapes its metrics as a
// Prometheus would.
func (s *stand) ours(side *side, n int, args ...string) *runner {
	s.Helper()
	program := s.Shipped()
	address, err := shared.Address()
	s.Must(err)
	program = program.With("run", "--listen", address, "--namespace", side.namespace)
	r := s.start(program.With(args...), side, side.places[:n])
	go wait.UntilWithContext(s.Ctx, func(ctx context.Context) {
		began := time.Now()
		if _, err := testenv.Get(ctx, "http://"+address+"/metrics"); err == nil {
			r.scrapes.Add(1)
			r.scraping.Add(int64(time.Since(began)))
		}
	}, scrapeEvery)
	return r
}

// baseline starts the baseline for a side's first n places.
func (s *stand) baseline(side *side, n int, args ...string) *runner {
	s.Helper()
	program, err := shared.Companion(s.Ctx, "bench/baseline")
	s.Must(err)
	return s.start(program.With(args...), side, side.places[:n])
}

// both starts ours and then the baseline, each for n places of its side. It waits for the first
// sync of each.
func (s *stand) both(a, b *side, n int) (ours, baseline *runner) {
	s.Helper()
	ours = s.ours(a, n)
	s.synced(ours)
	baseline = s.baseline(b, n)
	s.synced(baseline)
	return ours, baseline
}

func (s *stand) start(p *testenv.Program, side *side, places []place) *runner {
	s.Helper()
	clusters := s.TempDir()
	for _, place := range places {
		s.Must(testenv.WriteFile(clusters, place.name, place.kubeconfig))
	}
	r := &runner{side: side, places: places, started: time.Now()}
	var err error
	r.Process, err = p.Start("--kubeconfig", side.kubeconfig, "--clusters", clusters)
	s.Must(err)
	ending := make(chan struct{})
	r.over = sync.OnceFunc(func() { close(ending) })
	go func() {
		select {
		case <-r.Done():
			s.fail(fmt.Errorf("%s exited: %s", p.Path, r.Stderr.Tail(5)))
		case <-ending:
		}
	}()
	s.Cleanup(func() {
		r.over()
		r.Kill()
		if s.Failed() {
			s.Logf("the last lines of the log of %s:\n%s", p.Path, r.Stderr.Tail(20))
		}
	})
	return r
}
