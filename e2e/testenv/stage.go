package testenv

import (
	"context"
	"strings"
	"testing"
	"time"
)

const (
	// Soon is the timeout for everything that has no promised time. It allows for a slow machine.
	Soon = time.Minute
	// Often is the interval at which tests poll a condition.
	Often = 20 * time.Millisecond
)

// Stage is the setup of an end-to-end test: the test, a context with a timeout, and its own
// namespace in every cluster. Its methods end the test on failure, so call them only in the test's
// own goroutine.
type Stage struct {
	*testing.T
	Env *Env
	Ctx context.Context
	NS  string
}

// Stage creates the setup of a test, which times out after limit. The namespace's name starts with
// prefix. Stage also creates the namespace in the given clusters from StartApart.
func (g *Env) Stage(t *testing.T, prefix string, limit time.Duration, apart ...string) *Stage {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	s := &Stage{T: t, Env: g, Ctx: ctx}
	var err error
	s.NS, err = g.Namespace(ctx, prefix, apart...)
	s.Must(err)
	return s
}

// Long skips a test that runs only in make test-all.
func Long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped in short mode; make test-all runs this test")
	}
}

// Must ends the test if err is not nil.
func (s *Stage) Must(err error) {
	s.Helper()
	Must(s, err)
}

// Must ends the test if err is not nil. Call it only in the test's own goroutine.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Until waits until check returns nil, and ends the test if that takes longer than Soon.
func (s *Stage) Until(check func(context.Context) error) {
	s.Helper()
	s.Within(Soon, check)
}

// Within waits until check returns nil, and ends the test if that takes longer than limit.
func (s *Stage) Within(limit time.Duration, check func(context.Context) error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Ctx, limit)
	defer cancel()
	if err := Until(ctx, Often, check); err != nil {
		s.Fatalf("timed out after %v: %v", limit, err)
	}
}

// Shipped returns the program as it is released. Raced returns it with the race detector.
func (s *Stage) Shipped() *Program {
	s.Helper()
	return s.program(s.Env.Program(s.Ctx))
}

func (s *Stage) Raced() *Program {
	s.Helper()
	return s.program(s.Env.RaceProgram(s.Ctx))
}

func (s *Stage) program(built *Program, err error) *Program {
	s.Helper()
	s.Must(err)
	return built
}

// At returns a site in a region, without remotes.
func (s *Stage) At(program *Program, region string) *Site {
	s.Helper()
	site, err := s.Env.Site(s.Ctx, program, s.Env.Cluster(region), s.NS)
	s.Must(err)
	return site
}

// Ends runs a command until it ends, and checks that its output contains no keys.
func (s *Stage) Ends(program *Program, args ...string) Result {
	s.Helper()
	r, err := program.Run(s.Ctx, args...)
	s.Must(err)
	s.Env.Keys.NoLeaks(s, r.Stdout, r.Stderr)
	return r
}

// Exits runs a command and checks its exit code.
func (s *Stage) Exits(code int, program *Program, args ...string) Result {
	s.Helper()
	r := s.Ends(program, args...)
	if r.Code != code {
		s.Fatalf("%v: exit %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// Promote promotes the site's region, even if some remotes are unreachable.
func (s *Stage) Promote(site *Site, args ...string) {
	s.Helper()
	r := s.Ends(site.Operator, append([]string{"promote", site.Home.Name, "--yes"}, args...)...)
	if !strings.Contains(r.Stdout, "Marked") {
		s.Fatalf("promote %v: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
}

// Keys writes a new key set to a region. It has maxActive keys and primary 8, as after some
// rotations.
func (s *Stage) Keys(region string, maxActive int) Repository {
	s.Helper()
	keys := s.Env.Keys.NewRepository(8, maxActive)
	_, err := s.Env.Cluster(region).Put(s.Ctx, s.NS, keys)
	s.Must(err)
	return keys
}
