package model_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Each guard is necessary: if it is disabled, the model finds a story that breaks a promise. So
// TestPromises would fail if the program lost that guard. The search is deterministic, but how much
// rapid shrinks the story depends on the speed of the machine.
func TestLongEachGuardIsNeeded(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped in short mode; make test-all runs this test")
	}
	for _, tc := range []struct {
		guard   string
		without dropped
	}{
		// Promise 1, never back: sjc rotates to version 1003, and push copies that to lon. Someone
		// removes lon's annotations. run1 has not seen the rotation, finds lon without a stamp, and
		// writes version 1002.
		{"live read", dropped{liveRead: true}},
		// Promise 7, fenced: a rival writes to lon. run1 reads lon and the source, and is about to
		// repair lon. promote raises the term to 2 and pushes. Then run1's PUT sets lon back to
		// term 1.
		{"update's precondition", dropped{updatePrecondition: true}},
		// Promise 7, fenced: lon is deleted. run2 reads the source and is about to recreate
		// lon. promote raises the term to 2 and creates lon. Then run2's create sets lon
		// back to term 1.
		{"create's precondition", dropped{createPrecondition: true}},
		// Promise 7, fenced: sjc is the main region with term 1. promote in dfw does not see that
		// and also takes term 1. Its push overwrites the source in sjc.
		{"term", dropped{term: true}},
		// Promise 7, fenced: lon is restored from an older manifest. Someone merges lon's manifest
		// into the source. This turns the source into a copy with its own term, but run2 sees only
		// the source's mark, and pushes.
		{"row 3", dropped{row3: true}},
		// Promise 3, never worse: lon misses three rotations of the source, as many as a set has
		// keys. Nothing proves anymore that the key sets are related, but push writes without
		// --force.
		{"row 12", dropped{row12: true}},
		// Someone gives sjc a term that is 1,001 above all others. promote in dfw takes an even
		// higher term without --force.
		{"promote's refusals", dropped{refusals: true}},
		// sjc is the main region with term 1. promote in dfw also takes term 1.
		{"promote's next term", dropped{nextTerm: true}},
		// Promise 8, read-only at home: promote in dfw reads its source. A push from sjc writes
		// newer keys there. Then promote's write of the mark restores the older keys.
		{"mark's precondition", dropped{markPrecondition: true}},
		// promote in dfw reads all clusters. sjc is promoted to term 2. Then promote in dfw also
		// sets a mark with term 2, and does not notice that it must take a higher term.
		{"promote's second look", dropped{lookAgain: true}},
		// promote sets the mark, but the connection is cut before the response. promote reports
		// that it changed nothing.
		{"promote's look after a lost answer", dropped{unsettled: true}},
	} {
		t.Run(tc.guard, func(t *testing.T) {
			setFlag(t, "rapid.seed", "1")
			setFlag(t, "rapid.checks", "1000")
			setFlag(t, "rapid.nofailfile", "true")
			setFlag(t, "rapid.shrinktime", "1s")
			r := &recorder{name: t.Name()}
			rapid.Check(r, func(rt *rapid.T) {
				fail := runStory(t, rt, tc.without, func(w *world) {
					w.begin()
					w.proceed()
					w.conclude()
				})
				if fail != nil {
					rt.Fatal(fail)
				}
			})
			if !r.failed {
				t.Fatalf("without the %s, the program still keeps every promise: %s", tc.guard, r.log)
			}
			t.Logf("without the %s:%s", tc.guard, r.story())
		})
	}
}

func setFlag(t *testing.T, name, value string) {
	t.Helper()
	before := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, before) })
}

// recorder is passed to rapid in place of the running test, because the story is expected to fail.
type recorder struct {
	rapid.TB // nil; all methods that rapid calls are overridden
	name     string
	log      []string
	failed   bool
}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return r.name }
func (r *recorder) Failed() bool { return r.failed }
func (r *recorder) FailNow()     { r.failed = true }
func (r *recorder) Log(args ...any) {
	r.Logf("%s", fmt.Sprint(args...))
}
func (r *recorder) Logf(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
}
func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
}

// story returns the log without the lines about rapid's draws.
func (r *recorder) story() string {
	var b strings.Builder
	for _, line := range r.log {
		if !strings.Contains(line, "[rapid] draw") {
			b.WriteString("\n" + line)
		}
	}
	return b.String()
}
