package cli

import (
	"bytes"
	"errors"
	"testing"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/show"
)

// TestVerdicts checks that a verdict covers the source and every remote, even if --only-unwell
// hides some.
func TestVerdicts(t *testing.T) {
	well, bad := mirror.RemoteStatus{Name: "dfw", State: mirror.StateSynced}, mirror.RemoteStatus{Name: "iad", State: mirror.StateHeld}
	for _, c := range []struct {
		source  mirror.SourceState
		remotes []mirror.RemoteStatus
		well    bool
	}{
		{mirror.SourceMain, nil, false},
		{mirror.SourceStandby, nil, true},
		{mirror.SourceMain, []mirror.RemoteStatus{well}, true},
		{mirror.SourceMain, []mirror.RemoteStatus{well, bad}, false},
		{mirror.SourceAbsent, []mirror.RemoteStatus{well}, false},
	} {
		for _, format := range show.Formats {
			var out bytes.Buffer
			cmd := newRoot("fernetcast")
			cmd.SetOut(&out)
			st := mirror.Status{Source: mirror.SourceStatus{State: c.source}, Remotes: c.remotes}
			err := verdicts(cmd, show.Options{Format: format, OnlyUnwell: true})(st)
			if want := c.well; (err == nil) != want || err != nil && !errors.As(err, new(exitError)) || out.Len() == 0 {
				t.Errorf("%s of %s and %v: %v", format, c.source, c.remotes, err)
			}
		}
	}
}
