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
	// wrongTime is how long the servers send wrong responses. wrongWrites and wrongReads limit the
	// requests to each remote in that time. With backoff from 200 ms, fernetcast makes about 10
	// attempts in 10 s. The reflector, which waits up to 2 s, makes about as many.
	wrongTime   = 10 * time.Second
	wrongWrites = 20
	wrongReads  = 50
)

// wrong is a response that fernetcast must not trust.
type wrong struct {
	kind
	// state and says are the state and the text that /statusz must show.
	state, says string
}

// TestNotBelieved checks responses to reads, creates, and updates that don't come from an API
// server or that contain another object. fernetcast must report each response accurately, draw no
// conclusions from it, and give no harmful advice.
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
				continue // this remote is spoiled below, after it gets its Secret
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
	w.sleepUntil(began.Add(wrongTime))
	for o, answer := range remotes {
		run.shows(o.region, answer.state, answer.says)
		o.backedOff(began)
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
			t.Errorf("promote does not print %q:\n%s", want, plan.Stdout)
		}
	}
	// A write that no API server rejected must succeed once the real API server responds.
	for o := range remotes {
		o.Spoil(nil)
	}
	last := w.rotate().Keys
	for o := range remotes {
		w.arrived(o.history, last)
		run.shows(o.region, "Synced", "")
	}
}

// backedOff fails the test if the remote received too many requests in the wrongTime after since.
func (o *outpost) backedOff(since time.Time) {
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
		o.w.Errorf("%s got %d reads and %d writes in %v, want %d and %d at most", o.region, reads, writes, wrongTime, wrongReads, wrongWrites)
	}
}

// harmless fails the test if a text advises deleting keys or blames another writer.
func harmless(t *testing.T, where, text string) {
	t.Helper()
	for _, bad := range []string{"delete", "recreate", "other writer", "immutable"} {
		if strings.Contains(text, bad) {
			t.Errorf("%s contains the harmful text %q: %s", where, bad, text)
		}
	}
}
