// Package prometheus tests monitoring with a real Prometheus, Debian's: the metrics, each query of
// the dashboard, and alerts from the first lag to their end. Package monitoring tests when alerts
// must stay silent.
package prometheus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	mainRegion = "sjc"
	elsewhere  = "dfw"
	// testTime is the timeout of a test.
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
			fmt.Fprintln(os.Stderr, "skipping the tests with a real Prometheus:", err)
			return
		}
	}
	os.Exit(testenv.Main(m, &shared, mainRegion, elsewhere))
}

// stage is the setup of one test: a main region, and remotes in namespaces of both clusters.
type stage struct {
	*testenv.Stage
	*testenv.Site
}

// newStage returns a stage whose main region is promoted, and has keys but no remotes.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{Stage: shared.Stage(t, "p", testTime)}
	s.Site = s.at(mainRegion)
	s.Keys(mainRegion, 7)
	s.Exits(0, s.Operator, "promote", mainRegion, "--yes")
	return s
}

// at returns a site in a region, without remotes.
func (s *stage) at(region string) *testenv.Site { return s.At(s.Shipped(), region) }

// rotate rotates the main region's keys, as openstack-helm's job does.
func (s *stage) rotate() testenv.Repository {
	s.Helper()
	rotation, err := s.Home.Rotate(s.Ctx, s.NS, 7)
	s.Must(err)
	return rotation.Keys
}

// show waits until a replica's /statusz shows each remote in the given state.
func (s *stage) show(address string, states map[string]string) {
	s.Helper()
	s.Until(func(ctx context.Context) error {
		st, err := testenv.Statusz(ctx, address)
		if err != nil {
			return err
		}
		var errs []error
		for name, state := range states {
			switch r := st.Remote(name); {
			case r == nil:
				errs = append(errs, fmt.Errorf("%s is missing", name))
			case r.State != state:
				errs = append(errs, fmt.Errorf("%s is %s, want %s: %s", name, r.State, state, r.Detail))
			}
		}
		return errors.Join(errs...)
	})
}
