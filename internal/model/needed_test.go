package model_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Each guard is needed: without it the model finds a story in which a promise
// breaks, and so would find it if the program lost that guard. The search is
// the same each time; how short rapid makes the story depends on the machine.
func TestLongEachGuardIsNeeded(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: make test-all runs it")
	}
	for _, tc := range []struct {
		guard   string
		without dropped
	}{
		// 1, never back. sjc rotates, to version 1003. push brings it to lon.
		// Somebody takes lon's annotations away. run1, which has not seen the
		// rotation, takes lon for one never stamped, and gives it version 1002.
		{"live read", dropped{liveRead: true}},
		// 7, fenced. A rival writes lon. run1 reads lon, reads the source, and is
		// about to repair it. promote raises the term to 2 and pushes. run1's PUT
		// comes after, and lon is of term 1 again.
		{"update's precondition", dropped{updatePrecondition: true}},
		// 7, fenced. lon is deleted. run2 reads the source, and is about to make it
		// anew. promote raises the term to 2 and makes it. run2's create comes
		// after, and lon is of term 1 again.
		{"create's precondition", dropped{createPrecondition: true}},
		// 7, fenced. sjc is the main of term 1. promote in dfw does not see that,
		// and gives itself term 1 too; its push writes over the main.
		{"term", dropped{term: true}},
		// 7, fenced. lon is restored from an older manifest, and somebody merges
		// lon's manifest into the source, which thereby is a copy of its own term.
		// run2 sees the source's mark alone, and pushes.
		{"row 3", dropped{row3: true}},
		// 3, never worse. The source is rotated three times, as often as there are
		// keys in a set, and lon misses it: nothing proves any more that the two
		// are kin. push, without force, writes all the same.
		{"row 12", dropped{row12: true}},
		// Somebody writes a term on sjc that is 1,001 above all others. promote in
		// dfw, without force, goes above it.
		{"promote's refusals", dropped{refusals: true}},
		// sjc is the main of term 1. promote in dfw takes term 1 too.
		{"promote's next term", dropped{nextTerm: true}},
		// 8, read-only at home. promote in dfw reads its source. A push from sjc
		// gives it newer keys. The mark puts the older ones back.
		{"mark's precondition", dropped{markPrecondition: true}},
		// promote in dfw reads all. sjc is promoted to term 2. dfw's mark of term 2
		// comes after, and does not give way.
		{"promote's second look", dropped{lookAgain: true}},
		// The mark is set, and the connection cut before the answer. promote says
		// that it has not begun.
		{"promote's look after a lost answer", dropped{unsettled: true}},
	} {
		t.Run(tc.guard, func(t *testing.T) {
			setFlag(t, "rapid.seed", "1")
			setFlag(t, "rapid.checks", "1000")
			setFlag(t, "rapid.nofailfile", "true")
			setFlag(t, "rapid.shrinktime", "1s")
			r := &recorder{name: t.Name()}
			rapid.Check(r, func(rt *rapid.T) {
				fail := tell(t, rt, tc.without, func(w *world) {
					w.begin()
					w.goOn()
					w.conclude()
				})
				if fail != nil {
					rt.Fatal(fail)
				}
			})
			if !r.failed {
				t.Fatalf("without its %s the program keeps every promise: %s", tc.guard, r.log)
			}
			t.Logf("without its %s:%s", tc.guard, r.story())
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

// recorder is a test that may fail: it stands in for the one that runs.
type recorder struct {
	rapid.TB // nil: what is not here is not called
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

// story is what happened, without what was drawn for it.
func (r *recorder) story() string {
	var b strings.Builder
	for _, line := range r.log {
		if !strings.Contains(line, "[rapid] draw") {
			b.WriteString("\n" + line)
		}
	}
	return b.String()
}
