package testenv

import (
	"context"
	"strings"
	"testing"
	"time"
)

const (
	// Soon is how long anything may take for which no promise sets a time, on a slow
	// machine.
	Soon = time.Minute
	// Often is the time between two looks at something that is waited for.
	Often = 20 * time.Millisecond
)

// Stage is what an end-to-end test works with: itself, a context that ends a test that
// hangs, and a namespace of its own in every cluster. Each method that fails ends the
// test, so they are for the test's own goroutine.
type Stage struct {
	*testing.T
	Env *Env
	Ctx context.Context
	NS  string
}

// Stage makes one. The namespace's name starts with the prefix; it is made in these
// clusters of StartApart as well.
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

// Long leaves a test to make test-all.
func Long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: make test-all runs it")
	}
}

// Must ends the test on an error.
func (s *Stage) Must(err error) {
	s.Helper()
	Must(s, err)
}

// Must ends the test on an error. Call it in the test's own goroutine.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Until waits for a condition that is met soon.
func (s *Stage) Until(check func(context.Context) error) {
	s.Helper()
	s.Within(Soon, check)
}

// Within waits for a condition, and ends the test if it takes longer than the limit.
func (s *Stage) Within(limit time.Duration, check func(context.Context) error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Ctx, limit)
	defer cancel()
	if err := Until(ctx, Often, check); err != nil {
		s.Fatalf("not within %v: %v", limit, err)
	}
}

// Shipped is the real program as it ships, Raced with the race detector.
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

// At is a program at home in a region, without remotes.
func (s *Stage) At(program *Program, region string) *Site {
	s.Helper()
	site, err := s.Env.Site(s.Ctx, program, s.Env.Cluster(region), s.NS)
	s.Must(err)
	return site
}

// Ends runs a command to its end. No output may show a key.
func (s *Stage) Ends(program *Program, args ...string) Result {
	s.Helper()
	r, err := program.Run(s.Ctx, args...)
	s.Must(err)
	s.Env.Keys.NoLeaks(s, r.Stdout, r.Stderr)
	return r
}

// Exits runs a command that has to end with the code.
func (s *Stage) Exits(code int, program *Program, args ...string) Result {
	s.Helper()
	r := s.Ends(program, args...)
	if r.Code != code {
		s.Fatalf("%v: exit %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// Promote makes a site's region the main, whether or not its remotes can be reached.
func (s *Stage) Promote(site *Site, args ...string) {
	s.Helper()
	r := s.Ends(site.Operator, append([]string{"promote", site.Home.Name, "--yes"}, args...)...)
	if !strings.Contains(r.Stdout, "Marked") {
		s.Fatalf("promote %v: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
}

// Keys are new ones of an installation in use, put into a region: max_active_keys of
// them, the primary has index 8.
func (s *Stage) Keys(region string, maxActive int) Repository {
	s.Helper()
	keys := s.Env.Keys.NewRepository(8, maxActive)
	_, err := s.Env.Cluster(region).Put(s.Ctx, s.NS, keys)
	s.Must(err)
	return keys
}
