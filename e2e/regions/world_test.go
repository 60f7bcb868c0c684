// Package regions tests fernetcast on real control planes: a main region, sjc, and three remotes.
// Each test has its own namespace in all of them.
package regions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	mainRegion = "sjc"
	// testTime is the timeout of a test.
	testTime = 5 * time.Minute
)

var (
	shared  *testenv.Env
	remotes = []string{"dfw", "iad", "ord"}
)

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, &shared, append([]string{mainRegion}, remotes...)...))
}

// world is one test's environment: a namespace in every cluster, and fernetcast in a main region.
type world struct {
	*testenv.Stage
	*testenv.Site
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newMain(shared.Stage(t, "t", testTime), mainRegion)
}

// newMain returns a world with fernetcast in the given region. To get several main regions, call
// newMain several times with the same stage.
func newMain(s *testenv.Stage, region string) *world {
	s.Helper()
	return &world{Stage: s, Site: s.At(s.Raced(), region)}
}

// join gives fernetcast a kubeconfig with its own Role for each remote.
func (w *world) join(names ...string) {
	w.Helper()
	for _, name := range names {
		w.joinAs(name, testenv.Access{Role: testenv.RemoteRole})
	}
}

// joinAs gives fernetcast a kubeconfig with the given permissions and address for a remote.
func (w *world) joinAs(name string, access testenv.Access) {
	w.Helper()
	w.Must(w.Join(w.Ctx, shared.Cluster(name), access))
}

// keys creates a key set in the main region, as after some rotations, and returns it.
func (w *world) keys() testenv.Repository {
	w.Helper()
	return w.Keys(w.Home.Name, 7)
}

// promote promotes the main region.
func (w *world) promote(args ...string) {
	w.Helper()
	w.Promote(w.Site, args...)
}

// command runs a command with an operator's permissions, and checks that its output contains no
// key.
func (w *world) command(args ...string) testenv.Result {
	w.Helper()
	return w.Ends(w.Operator, args...)
}

// exits runs a command, checks that it exits with the given code, and returns all its output.
func (w *world) exits(code int, args ...string) string {
	w.Helper()
	r := w.Exits(code, w.Operator, args...)
	return r.Stdout + r.Stderr
}

func (w *world) noLeaks(outputs ...string) {
	w.Helper()
	shared.Keys.NoLeaks(w, outputs...)
}

// replica is a running process of `fernetcast run`.
type replica struct {
	*testenv.Process
	w       *world
	address string
}

// run starts fernetcast. At the end of the test, it checks that fernetcast exits with 0 after
// SIGTERM, unless the process has already exited, and that the output contains no key.
func (w *world) run(args ...string) *replica {
	w.Helper()
	return w.runProgram(w.Runner, args...)
}

func (w *world) runProgram(p *testenv.Program, args ...string) *replica {
	w.Helper()
	address, err := shared.Address()
	w.Must(err)
	process, err := p.Start(append([]string{"run", "--listen", address, "--log-level", "debug"}, args...)...)
	w.Must(err)
	r := &replica{process, w, address}
	w.Cleanup(r.end)
	return r
}

func (r *replica) end() {
	defer r.Kill()
	if r.Running() {
		r.noLeaksElsewhere()
		ctx, cancel := context.WithTimeout(context.Background(), testenv.Soon)
		defer cancel()
		if err := r.Terminate(); err != nil {
			r.w.Error(err)
		}
		if code, err := r.Wait(ctx); err != nil || code != 0 {
			r.w.Errorf("run exited with code %d, %v", code, err)
		}
	}
	r.w.noLeaks(r.Stdout.String(), r.Stderr.String())
	if r.w.Failed() {
		r.w.Logf("the last lines of run's log:\n%s", r.Stderr.Tail(60))
	}
}

// status returns the document of /statusz, and checks that it contains no key.
func (r *replica) status(ctx context.Context) (*testenv.Status, error) {
	body, err := testenv.Get(ctx, "http://"+r.address+"/statusz")
	if err != nil {
		return nil, err
	}
	r.w.noLeaks(string(body))
	return testenv.Statusz(ctx, r.address)
}

// fresh returns a /statusz document that fernetcast generated after the call. It waits for one,
// because fernetcast caches the document for up to a second.
func (r *replica) fresh() string {
	r.w.Helper()
	began, first, text := time.Now(), "", ""
	r.w.Until(func(ctx context.Context) error {
		asked := time.Now()
		body, err := testenv.Get(ctx, "http://"+r.address+"/statusz")
		text = string(body)
		first = cmp.Or(first, text)
		if err == nil && text == first && asked.Sub(began) < time.Second {
			err = errors.New("the event may be older")
		}
		return err
	})
	return text
}

// shows waits until /statusz shows the remote in the given state, with text in its reason or
// detail.
func (r *replica) shows(remote, state, text string) {
	r.w.Helper()
	r.w.Until(func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		s := st.Remote(remote)
		if s == nil {
			return fmt.Errorf("/statusz has no %s", remote)
		}
		if s.State != state || !strings.Contains(s.Reason+" "+s.Detail, text) {
			return fmt.Errorf("%s is %s (%s: %s), want %s with %q", remote, s.State, s.Reason, s.Detail, state, text)
		}
		return nil
	})
}

// equal waits until every named remote has exactly these keys.
func (w *world) equal(limit time.Duration, keys testenv.Repository, names ...string) {
	w.Helper()
	w.Within(limit, func(ctx context.Context) error {
		var errs []error
		for _, name := range names {
			if err := shared.Cluster(name).Holds(ctx, w.NS, keys); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
		return errors.Join(errs...)
	})
}

// rotate rotates the main region's keys, as openstack-helm's job does.
func (w *world) rotate() testenv.Rotation {
	w.Helper()
	rotation, err := w.Home.Rotate(w.Ctx, w.NS, 7)
	w.Must(err)
	return rotation
}
