package mirror

import (
	"strings"
	"testing"
	"time"
)

func TestExplainProbe(t *testing.T) {
	now := time.Now()
	old := now.Add(-time.Hour)
	synced := func(at time.Time) RemoteStatus { return RemoteStatus{State: StateSynced, LastPushed: &at} }
	states := map[string]RemoteStatus{"dfw": synced(old), "iad": {State: StateBehind}, "lhr": synced(now), "phx": {State: StateSynced}}
	for name, c := range map[string]struct {
		from, to string
		verdict  Verdict
		want     string
	}{
		"accepted":         {"sjc", "dfw", Accepted, ""},
		"unreachable":      {"sjc", "dfw", Unreachable, ""},
		"behind":           {"sjc", "iad", Refused, "iad: the Secret is Behind"},
		"from behind":      {"iad", "dfw", Refused, "iad: the Secret is Behind"},
		"not mounted":      {"sjc", "dfw", Refused, "dfw: the Secret is Synced, but Keystone refuses"},
		"never pushed":     {"sjc", "phx", Refused, "phx: the Secret is Synced, but Keystone refuses"},
		"too early":        {"sjc", "lhr", Refused, "lhr: the Secret is Synced, but has changed"},
		"rotates itself":   {"dfw", "sjc", Refused, "dfw: the Secret is Synced, but Keystone signs with another key"},
		"unknown":          {"sjc", "ord", Refused, "could not be compared"},
		"main is at fault": {"sjc", "sjc", Refused, "sjc: the Secret is Synced, but Keystone refuses"},
	} {
		got := Probe{From: c.from, To: c.to, Verdict: c.verdict}.Explain("sjc", states)
		if !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
