package cli

import (
	"testing"
	"time"
)

func TestPeriod(t *testing.T) {
	for text, want := range map[string]string{
		"90d": "90d", "2160h": "90d", "24h": "24h", "36h": "36h", "1h30m": "1h30m", "2m0s": "2m", "90s": "1m30s",
		"10h": "10h", "200ms": "200ms", "0": "0", "-1m": "-1m", "1m10s": "1m10s",
	} {
		var p period
		if err := p.Set(text); err != nil || p.String() != want {
			t.Errorf("%s: %s, want %s: %v", text, p.String(), want, err)
			continue
		}
		var again period
		if err := again.Set(p.String()); err != nil || again != p {
			t.Errorf("%s was parsed as %s: %v", p.String(), time.Duration(again), err)
		}
	}
	for _, text := range []string{"", "d", "1.5d", "-1d", "90", "70000d", "soon"} {
		if err := new(period).Set(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
