package pusher

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

// Each row lists events at a time in seconds, and what the contest then does (repair,
// leave) or shows (a state).
func TestContestRules(t *testing.T) {
	const quiet = 30 * time.Second
	ends := map[string]Outcome{
		"synced":      {Decision: mirror.Decision{State: mirror.StateSynced}},
		"repaired":    {Decision: mirror.Decision{State: mirror.StateSynced}},
		"not written": {Decision: mirror.Decision{State: mirror.StateBehind}},
		"overtaken":   {Decision: mirror.Decision{State: mirror.StateBehind}, Overtaken: true},
		"unread":      {Decision: mirror.Decision{State: mirror.StateBehind}, Err: errors.New("the source is gone")},
		"unreachable": {Decision: mirror.Decision{State: mirror.StateUnreachable}, Err: errors.New("no answer")},
		"held":        {Decision: mirror.Decision{State: mirror.StateHeld}},
	}
	type step struct {
		at    int
		event string
		want  string
	}
	for name, steps := range map[string][]step{
		"first drift":             {{0, "drift", "repair"}, {0, "repaired", "Synced"}},
		"occasional drift":        {{0, "drift", "repair"}, {0, "repaired", "Synced"}, {30, "drift", "repair"}, {30, "repaired", "Synced"}, {60, "drift", "repair"}},
		"second drift too soon":   {{0, "drift", "repair"}, {0, "repaired", "Synced"}, {29, "drift", "leave"}, {29, "not written", "Contested"}},
		"a repair that failed":    {{0, "drift", "repair"}, {0, "unreachable", "Unreachable"}, {1, "drift", "repair"}, {1, "repaired", "Synced"}},
		"undone in the same sync": {{0, "undone", "leave"}, {0, "not written", "Contested"}},
		"one repair a turn":       {{0, "undone", "leave"}, {0, "not written", "Contested"}, {1, "drift", "repair"}, {1, "undone", "leave"}, {1, "not written", "Contested"}},
		"quiet for long enough":   {{0, "undone", "leave"}, {0, "not written", "Contested"}, {1, "drift", "repair"}, {1, "repaired", "Contested"}, {30, "synced", "Contested"}, {31, "synced", "Synced"}},
		"drift after a contest":   {{0, "undone", "leave"}, {1, "drift", "repair"}, {1, "repaired", "Contested"}, {31, "synced", "Synced"}, {31, "drift", "repair"}},
		"each drift counts":       {{0, "undone", "leave"}, {29, "drift", "repair"}, {29, "repaired", "Contested"}, {58, "synced", "Contested"}},
		"overtaken":               {{0, "overtaken", "Contested"}, {29, "synced", "Contested"}, {30, "synced", "Synced"}},
		"not to be written":       {{0, "overtaken", "Contested"}, {1, "held", "Held"}, {2, "synced", "Synced"}},
		"failures are shown":      {{0, "overtaken", "Contested"}, {1, "unreachable", "Unreachable"}, {2, "unread", "Behind"}, {3, "synced", "Contested"}},
		"no contest":              {{0, "not written", "Behind"}, {1, "unread", "Behind"}, {2, "synced", "Synced"}},
	} {
		t.Run(name, func(t *testing.T) {
			var c contest
			start := time.Now()
			for _, s := range steps {
				now, got := start.Add(time.Duration(s.at)*time.Second), "leave"
				if o, end := ends[s.event]; end {
					before := o
					var d mirror.Decision
					c, d = c.after(now, quiet, &o, s.event == "repaired")
					if got = string(d.State); !reflect.DeepEqual(o, before) {
						t.Errorf("at %d: the outcome was changed", s.at)
					}
				} else {
					var repair bool
					if c, repair = c.drift(now, quiet, "argocd", s.event == "undone"); repair {
						got = "repair"
					}
				}
				if got != s.want {
					t.Errorf("at %d, %s: %s, want %s", s.at, s.event, got, s.want)
				}
			}
		})
	}
}

// The rival is still named after our own repair has removed its last field.
func TestContestNamesTheRival(t *testing.T) {
	now, behind := time.Now(), &Outcome{Decision: mirror.Decision{State: mirror.StateBehind}}
	c, _ := contest{}.drift(now, time.Minute, "", true)
	_, d := c.after(now, time.Minute, behind, false)
	if d.Reason != mirror.ReasonRival || !strings.Contains(d.Detail, "an unknown writer") {
		t.Errorf("%s: %s", d.Reason, d.Detail)
	}
	c, _ = c.drift(now, time.Minute, "argocd", true)
	c, _ = c.drift(now, time.Minute, "", true)
	if _, d = c.after(now, time.Minute, behind, false); !strings.Contains(d.Detail, "argocd repeatedly changes") {
		t.Error(d.Detail)
	}
}

// The first drift is repaired immediately. A rival at network speed causes only a few
// writes and is named. When it stops, the copy is repaired and the contest ends.
func TestContest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.spoil()
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateSynced)
		_, before := dfw.counts()
		for range 250 { // 50 per second for 5 s
			dfw.spoil()
			time.Sleep(20 * time.Millisecond)
		}
		expect(t, p, "dfw", mirror.StateContested)
		if st := state(t, p, "dfw"); !bytes.Contains([]byte(st.Detail), []byte("argocd")) {
			t.Errorf("the detail does not name the rival: %s", st.Detail)
		}
		if _, after := dfw.counts(); after-before > 10 {
			t.Errorf("%d writes in 5 s", after-before)
		}
		time.Sleep(10 * time.Second)
		if !dfw.holds(0) {
			t.Error("the copy does not have the keys 10 s after the rival's last write")
		}
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		if !dfw.holds(1) {
			t.Error("a contest delayed a rotation")
		}
		time.Sleep(2 * time.Minute)
		expect(t, p, "dfw", mirror.StateSynced)
		dfw.spoil()
		synctest.Wait()
		if !dfw.holds(1) {
			t.Error("after the contest, drift was not repaired immediately")
		}
	})
}

// A webhook that modifies each write is also a rival.
func TestMangledWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{mangle: true}
		p := running(t, src, members{"dfw": dfw})
		expect(t, p, "dfw", mirror.StateContested)
		if _, writes := dfw.counts(); writes != 1 {
			t.Errorf("%d immediate writes", writes)
		}
		time.Sleep(time.Minute)
		if _, writes := dfw.counts(); writes > 20 {
			t.Errorf("%d writes in a minute", writes)
		}
		dfw.set(func() { dfw.mangle = false })
		time.Sleep(2 * time.Minute)
		expect(t, p, "dfw", mirror.StateSynced)
	})
}

// A contest ends when the Secret is held. The next event then takes effect within a second,
// so a flood of events costs one look per second.
func TestContestEndsWhenHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		for range 3 {
			dfw.spoil()
			synctest.Wait()
		}
		expect(t, p, "dfw", mirror.StateContested)
		dfw.set(func() { dfw.secret.Type = corev1.SecretTypeTLS })
		time.Sleep(5 * time.Second)
		expect(t, p, "dfw", mirror.StateHeld)
		dfw.set(func() { dfw.secret = nil })
		dfw.changed()
		time.Sleep(heldPause / 2)
		if dfw.holds(0) {
			t.Error("a held remote was synced immediately after each event")
		}
		time.Sleep(2 * heldPause)
		if !dfw.holds(0) {
			t.Error("the copy was not recreated")
		}
	})
}

// Drift that recurs only every 40 s does not start a contest.
func TestSeldomDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		for range 5 {
			dfw.spoil()
			synctest.Wait()
			expect(t, p, "dfw", mirror.StateSynced)
			time.Sleep(40 * time.Second)
		}
	})
}
