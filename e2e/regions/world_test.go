// Package regions proves the program on real control planes: a main, sjc, and
// three remotes. Each test has a namespace of its own in all of them.
package regions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	mainRegion = "sjc"
	// soon is how long anything may take that no promise sets a time for, on a
	// slow machine.
	soon = 30 * time.Second
	// often is how often a condition is looked at.
	often = 20 * time.Millisecond
	// testTime ends a test that hangs.
	testTime = 5 * time.Minute
)

var (
	shared  *testenv.Env
	remotes = []string{"dfw", "iad", "ord"}
)

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, &shared, append([]string{mainRegion}, remotes...)...))
}

// program is the real binary, built with the race detector.
var program = sync.OnceValues(func() (*testenv.Program, error) {
	return shared.RaceProgram(context.Background())
})

// shipped is the real binary as it ships, for what has to do with its size and speed.
var shipped = sync.OnceValues(func() (*testenv.Program, error) {
	return shared.Program(context.Background())
})

// world is one test's: a namespace in every cluster, and the program on a main.
type world struct {
	*testing.T
	*testenv.Site
	ctx context.Context
	ns  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	t.Cleanup(cancel)
	ns, err := shared.Namespace(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	return newMain(t, ctx, ns, mainRegion)
}

// newMain is the world as it looks from one region: several of one namespace
// make a world with several mains.
func newMain(t *testing.T, ctx context.Context, ns, region string) *world {
	t.Helper()
	built, err := program()
	if err != nil {
		t.Fatal(err)
	}
	site, err := shared.Site(ctx, built, shared.Cluster(region), ns)
	if err != nil {
		t.Fatal(err)
	}
	return &world{T: t, Site: site, ctx: ctx, ns: ns}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// join gives the program a kubeconfig of the design's own Role for each remote.
func (w *world) join(names ...string) {
	w.Helper()
	for _, name := range names {
		w.joinAs(name, testenv.Access{Role: testenv.RemoteRole})
	}
}

// joinAs gives it a kubeconfig of other rights, or another address.
func (w *world) joinAs(name string, access testenv.Access) {
	w.Helper()
	w.must(w.Join(w.ctx, shared.Cluster(name), access))
}

// keys puts a key set in use into the main, and returns it.
func (w *world) keys() testenv.Repository {
	w.Helper()
	keys := shared.Keys.NewRepository(8, 7)
	_, err := w.Home.Put(w.ctx, w.ns, keys)
	w.must(err)
	return keys
}

// promote makes the main the main.
func (w *world) promote(args ...string) {
	w.Helper()
	if r := w.command(append([]string{"promote", w.Home.Name, "--yes"}, args...)...); !strings.Contains(r.Stdout, "Marked") {
		w.Fatalf("promote %v: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
}

// command runs one command with an operator's rights. No output may show a key.
func (w *world) command(args ...string) testenv.Result {
	w.Helper()
	r, err := w.Operator.Run(w.ctx, args...)
	w.must(err)
	w.noLeaks(r.Stdout, r.Stderr)
	return r
}

// exits runs a command that has to end with the code, and returns all its output.
func (w *world) exits(code int, args ...string) string {
	w.Helper()
	r := w.command(args...)
	if r.Code != code {
		w.Fatalf("%v: exit %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r.Stdout + r.Stderr
}

func (w *world) noLeaks(outputs ...string) {
	w.Helper()
	shared.Keys.NoLeaks(w, outputs...)
}

// replica is a run of the program.
type replica struct {
	*testenv.Process
	w       *world
	address string
}

// run starts the program. At the test's end it has to stop at SIGTERM with
// exit code 0, unless it is gone by then, and no line of it may show a key.
func (w *world) run(args ...string) *replica {
	w.Helper()
	return w.runProgram(w.Runner, args...)
}

func (w *world) runProgram(p *testenv.Program, args ...string) *replica {
	w.Helper()
	address, err := shared.Address()
	w.must(err)
	process, err := p.Start(append([]string{"run", "--listen", address, "--log-level", "debug"}, args...)...)
	w.must(err)
	r := &replica{process, w, address}
	w.Cleanup(r.end)
	return r
}

func (r *replica) end() {
	defer r.Kill()
	if r.Running() {
		r.noLeaksElsewhere()
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if err := r.Terminate(); err != nil {
			r.w.Error(err)
		}
		if code, err := r.Wait(ctx); err != nil || code != 0 {
			r.w.Errorf("run ended with exit code %d, %v", code, err)
		}
	}
	r.w.noLeaks(r.Stdout.String(), r.Stderr.String())
	if r.w.Failed() {
		r.w.Logf("the last of run's log:\n%s", r.Stderr.Tail(60))
	}
}

// status is /statusz, which must not show a key.
func (r *replica) status(ctx context.Context) (*testenv.Status, error) {
	body, err := testenv.Get(ctx, "http://"+r.address+"/statusz")
	if err != nil {
		return nil, err
	}
	r.w.noLeaks(string(body))
	return testenv.Statusz(ctx, r.address)
}

// fresh is /statusz as made from now on: what was made within a second is served again.
func (r *replica) fresh() string {
	r.w.Helper()
	began, first, text := time.Now(), "", ""
	r.w.until(soon, func(ctx context.Context) error {
		asked := time.Now()
		body, err := testenv.Get(ctx, "http://"+r.address+"/statusz")
		text = string(body)
		first = cmp.Or(first, text)
		if err == nil && text == first && asked.Sub(began) < time.Second {
			err = errors.New("it may have been made before")
		}
		return err
	})
	return text
}

// shows waits until /statusz shows the remote in the state, with text in its
// reason or detail.
func (r *replica) shows(remote, state, text string) {
	r.w.Helper()
	r.w.until(soon, func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		s := st.Remote(remote)
		if s == nil {
			return fmt.Errorf("/statusz has no %s", remote)
		}
		if s.State != state || !strings.Contains(s.Reason+" "+s.Detail, text) {
			return fmt.Errorf("%s is %s (%s: %s), not %s with %q", remote, s.State, s.Reason, s.Detail, state, text)
		}
		return nil
	})
}

// until waits for a condition, and fails the test where it does not come in time.
func (w *world) until(limit time.Duration, check func(context.Context) error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, limit)
	defer cancel()
	if err := testenv.Until(ctx, often, check); err != nil {
		w.Fatalf("not within %v: %v", limit, err)
	}
}

// equal waits until every named remote has exactly these keys.
func (w *world) equal(limit time.Duration, keys testenv.Repository, names ...string) {
	w.Helper()
	w.until(limit, func(ctx context.Context) error {
		var errs []error
		for _, name := range names {
			if err := shared.Cluster(name).Holds(ctx, w.ns, keys); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
		return errors.Join(errs...)
	})
}

// rotate rotates the main's keys as openstack-helm's job does.
func (w *world) rotate() testenv.Rotation {
	w.Helper()
	rotation, err := w.Home.Rotate(w.ctx, w.ns, 7)
	w.must(err)
	return rotation
}
