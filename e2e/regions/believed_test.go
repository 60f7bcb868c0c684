package regions

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// wrongTime is how long wrong answers go on, and wrongWrites and wrongReads how
	// many requests come meanwhile at most: a back-off from 200 ms has ten tries in
	// it, and the reflector's, whose waits are up to 2 s, as many.
	wrongTime   = 10 * time.Second
	wrongWrites = 20
	wrongReads  = 50
)

// wrong is a kind of answer that is not to be believed.
type wrong struct {
	kind
	// state and says are what is shown of it.
	state, says string
}

// Answers that no API server gave, and of another thing than the Secret: each
// is shown as what it is, nothing is concluded from it, and no advice follows
// that would harm, whether reads are answered so, or a create, or an update.
func TestNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.join("iad")
	remotes := map[*outpost]wrong{}
	var reads, updates []*outpost
	for _, answer := range wrongAnswers() {
		for how, on := range map[string]request{"read": anything &^ aWrite, "create": aWrite, "update": aWrite} {
			o := w.outpost(answer.name+"-"+how, hostileCluster)
			answer.on = on
			remotes[o] = answer
			switch how {
			case "read":
				reads = append(reads, o)
			case "update":
				updates = append(updates, o)
				continue // when it has a Secret
			}
			o.spoil(answer.kind)
		}
	}
	run := w.runShipped()
	seen := w.follow("iad")
	for _, o := range updates {
		w.arrived(o.history, keys)
		run.shows(o.region, "Synced", "")
		o.spoil(remotes[o].kind)
	}
	began := time.Now()
	rotation := w.rotate()
	w.within(atOnce, seen["iad"], rotation)
	w.pass(began.Add(wrongTime))
	for o, answer := range remotes {
		run.shows(o.region, answer.state, answer.says)
		o.seldom(began)
		if !slices.Contains(updates, o) {
			o.untouched()
		}
	}
	st, err := run.status(w.Ctx)
	w.Must(err)
	for _, r := range st.Remotes {
		harmless(t, r.Name, r.Reason+" "+r.Detail)
	}

	table := w.exits(1, "status")
	harmless(t, "status", table)
	plan := w.command("promote", mainRegion, "--yes")
	harmless(t, "promote", plan.Stdout+plan.Stderr)
	for _, o := range reads {
		if want := fmt.Sprintf("  %s (namespace %s): NOT REACHED (%s", o.region, o.ns, remotes[o].says); !strings.Contains(plan.Stdout, want) {
			t.Errorf("promote does not say %q:\n%s", want, plan.Stdout)
		}
	}
	// A write that no API server has refused is done once one takes it.
	for o := range remotes {
		o.Spoil(nil)
	}
	last := w.rotate().Keys
	for o := range remotes {
		w.arrived(o.history, last)
		run.shows(o.region, "Synced", "")
	}
}

// seldom fails the test where a remote was sent more requests from then on.
func (o *outpost) seldom(since time.Time) {
	o.w.Helper()
	reads, writes := 0, 0
	for _, r := range o.Requests() {
		switch {
		case r.Came.Before(since) || r.Came.After(since.Add(wrongTime)):
		case r.Method == http.MethodGet:
			reads++
		default:
			writes++
		}
	}
	o.w.Logf("%s: %d reads, %d writes", o.region, reads, writes)
	if reads > wrongReads || writes > wrongWrites {
		o.w.Errorf("%s got %d reads and %d writes in %v, wanted %d and %d at most", o.region, reads, writes, wrongTime, wrongReads, wrongWrites)
	}
}

// harmless fails the test where a text advises to do away with keys, or blames a writer.
func harmless(t *testing.T, where, text string) {
	t.Helper()
	for _, bad := range []string{"delete", "made anew", "other writer", "immutable"} {
		if strings.Contains(text, bad) {
			t.Errorf("%s says %q: %s", where, bad, text)
		}
	}
}
