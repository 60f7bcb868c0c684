package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

// pieces writes text in small pieces, which don't end at line breaks.
func pieces(t *testing.T, w io.Writer, text string) {
	t.Helper()
	for _, piece := range strings.SplitAfter(text, "e") {
		if _, err := io.WriteString(w, piece); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTablesAreAppendedWhereThereIsNoTerminal(t *testing.T) {
	var out strings.Builder
	view := &screen{out: &out}
	pieces(t, view.tables(), "first\nremotes\n\nsecond\nremotes\n\nhalf of the third")
	view.say("the end")
	if want := "first\nremotes\n\nsecond\nremotes\n\nthe end\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestTerminalShowsTheLastTableAndEvents(t *testing.T) {
	var out strings.Builder
	view := &screen{out: &out, terminal: true}
	view.tell([]string{"directions"})
	for range eventsShown {
		view.event("early")
	}
	view.event("late")
	out.Reset()
	pieces(t, view.tables(), "table\nremotes\n\n")
	drawn := out.String()
	for text, times := range map[string]int{"table": 1, "remotes": 1, "early": eventsShown - 1, "late": 1, "directions": 1, "\x1b[2J": 0} {
		if got := strings.Count(drawn, text); got != times {
			t.Errorf("%q is on the screen %d times, want %d", text, got, times)
		}
	}
}

func TestLengthFrom(t *testing.T) {
	for seconds, want := range map[string]time.Duration{"": 0, "30": 30 * time.Second} {
		if got, err := lengthFrom(seconds); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", seconds, got, err, want)
		}
	}
	for _, seconds := range []string{"0", "-1", "soon", "1.5"} {
		if _, err := lengthFrom(seconds); err == nil {
			t.Errorf("%q was accepted as a number of seconds", seconds)
		}
	}
}

func TestSummaryCountsWhatWasLate(t *testing.T) {
	for want, r := range map[string]record{
		"No rotations yet.": {},
		"No rotation reached all remotes in time. 1 late.":                                            {failures: []string{"x"}},
		"4 rotations. Time until the last remote was equal: 20 ms (median), 30 ms (slowest). 1 late.": {slowest: []time.Duration{3e7, 1e7, 2e7}, failures: []string{"x"}},
	} {
		if got := r.summary(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
