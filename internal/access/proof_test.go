package access

import (
	"testing"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
)

// A skipped check proves nothing, so the new kubeconfig isn't stored.
func TestProof(t *testing.T) {
	read := mirror.ReadCopy(mirror.Place{}, nil)
	for name, try := range map[string]struct {
		copy           mirror.Copy
		rights, excess preflight.Result
		good           bool
	}{
		"as it should be":    {read, preflight.Pass, preflight.Pass, true},
		"unread":             {mirror.Copy{}, preflight.Pass, preflight.Pass, false},
		"no rights":          {read, preflight.Fail, preflight.Skip, false},
		"may not watch":      {read, preflight.Warn, preflight.Pass, false},
		"may do more":        {read, preflight.Pass, preflight.Warn, false},
		"no time for rights": {read, preflight.Skip, preflight.Skip, false},
		"no time for excess": {read, preflight.Pass, preflight.Skip, false},
	} {
		found := preflight.Examined{Copy: try.copy, Checks: []preflight.Check{
			{ID: "clock", Result: preflight.Fail}, {ID: "rights", Result: try.rights}, {ID: "excess", Result: try.excess}, {ID: "secret", Result: preflight.Fail},
		}}
		if err := proof(found); (err == nil) != try.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
