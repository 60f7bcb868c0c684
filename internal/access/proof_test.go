package access

import (
	"testing"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	authorizationv1 "k8s.io/api/authorization/v1"
)

// A skipped check proves nothing, so the new kubeconfig isn't stored.
func TestProof(t *testing.T) {
	read := mirror.ReadCopy(mirror.Place{}, nil)
	secrets := authorizationv1.ResourceRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"delete"}}
	scopes := authorizationv1.ResourceRule{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"userextras/scopes"}, Verbs: []string{"impersonate"}}
	tiers := authorizationv1.ResourceRule{APIGroups: []string{"projectcalico.org"}, Resources: []string{"tiers"}, Verbs: []string{"get"}}
	for name, try := range map[string]struct {
		copy           mirror.Copy
		rights, excess preflight.Result
		more           []authorizationv1.ResourceRule
		good           bool
	}{
		"as it should be":    {read, preflight.Pass, preflight.Pass, nil, true},
		"unread":             {mirror.Copy{}, preflight.Pass, preflight.Pass, nil, false},
		"no rights":          {read, preflight.Fail, preflight.Skip, nil, false},
		"may not watch":      {read, preflight.Warn, preflight.Pass, nil, false},
		"may do more":        {read, preflight.Pass, preflight.Warn, []authorizationv1.ResourceRule{secrets}, false},
		"as all accounts":    {read, preflight.Pass, preflight.Warn, []authorizationv1.ResourceRule{scopes}, true},
		"a harmless one":     {read, preflight.Pass, preflight.Warn, []authorizationv1.ResourceRule{tiers}, true},
		"one of each":        {read, preflight.Pass, preflight.Warn, []authorizationv1.ResourceRule{tiers, scopes, secrets}, false},
		"no time for rights": {read, preflight.Skip, preflight.Skip, nil, false},
		"no time for excess": {read, preflight.Pass, preflight.Skip, nil, false},
	} {
		found := preflight.Examined{Copy: try.copy, Excess: try.more, Checks: []preflight.Check{
			{ID: "clock", Result: preflight.Fail}, {ID: "rights", Result: try.rights}, {ID: "excess", Result: try.excess}, {ID: "secret", Result: preflight.Fail},
		}}
		if err := proof(found, []authorizationv1.ResourceRule{scopes}); (err == nil) != try.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
