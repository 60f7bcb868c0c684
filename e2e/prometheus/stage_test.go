// Package prometheus proves what an operator sees of the program by Debian's own
// Prometheus, which scrapes it: the metrics, each query of the dashboard, and an
// alert from the first lag to its end. It does not judge when an alert has to be
// silent: e2e/monitoring does.
package prometheus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	mainRegion = "sjc"
	elsewhere  = "dfw"
	// soon is how long anything may take that no promise sets a time for, on a
	// slow machine.
	soon  = 2 * time.Minute
	often = 100 * time.Millisecond
	// testTime ends a test that hangs.
	testTime = 5 * time.Minute
)

var shared *testenv.Env

func TestMain(m *testing.M) {
	for _, tool := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("REQUIRE_PROMETHEUS") != "" {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Fprintln(os.Stderr, "the tests on a real Prometheus are left out:", err)
			return
		}
	}
	os.Exit(testenv.Main(m, &shared, mainRegion, elsewhere))
}

var shipped = sync.OnceValues(func() (*testenv.Program, error) {
	return shared.Program(context.Background())
})

// stage is one test's: a main, and remotes that are namespaces of both clusters.
type stage struct {
	*testing.T
	*testenv.Site
	ctx context.Context
	ns  string
}

// newStage has keys in use in a main that was promoted and has no remotes.
func newStage(t *testing.T) *stage {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	t.Cleanup(cancel)
	s := &stage{T: t, ctx: ctx}
	var err error
	s.ns, err = shared.Namespace(ctx, "p")
	s.must(err)
	s.Site = s.at(mainRegion)
	_, err = s.Home.Put(ctx, s.ns, shared.Keys.NewRepository(8, 7))
	s.must(err)
	r, err := s.Operator.Run(ctx, "promote", mainRegion, "--yes")
	s.must(err)
	if r.Code != 0 {
		t.Fatalf("promote: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return s
}

// at is the program in a region, without remotes.
func (s *stage) at(region string) *testenv.Site {
	s.Helper()
	program, err := shipped()
	s.must(err)
	site, err := shared.Site(s.ctx, program, shared.Cluster(region), s.ns)
	s.must(err)
	return site
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// until waits for a condition, and fails the test where it does not come in time.
func (s *stage) until(check func(context.Context) error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, soon)
	defer cancel()
	if err := testenv.Until(ctx, often, check); err != nil {
		s.Fatalf("not within %v: %v", soon, err)
	}
}

// rotate rotates the main's keys as openstack-helm's job does.
func (s *stage) rotate() testenv.Repository {
	s.Helper()
	rotation, err := s.Home.Rotate(s.ctx, s.ns, 7)
	s.must(err)
	return rotation.Keys
}

// show waits until a replica shows each remote in a state.
func (s *stage) show(address string, states map[string]string) {
	s.Helper()
	s.until(func(ctx context.Context) error {
		st, err := testenv.Statusz(ctx, address)
		if err != nil {
			return err
		}
		var errs []error
		for name, state := range states {
			switch r := st.Remote(name); {
			case r == nil:
				errs = append(errs, fmt.Errorf("%s is not there", name))
			case r.State != state:
				errs = append(errs, fmt.Errorf("%s is %s, not %s: %s", name, r.State, state, r.Detail))
			}
		}
		return errors.Join(errs...)
	})
}
