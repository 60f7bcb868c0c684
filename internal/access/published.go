package access

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/apimachinery/pkg/util/duration"
)

// findCA sets t.CA to the first of cas (PEM; nil means the system's) with which the issuer's
// documents can be read without credentials. The timeout applies to each request. findCA passes say
// a warning if no CA works from here or if the published keys differ from the issuer's, and a note
// if API servers can cache the keys. It returns a [Refusal] if the documents belong to another issuer.
func (t *Trust) findCA(ctx context.Context, cas [][]byte, issuer setup.Issuer, timeout time.Duration, say func(string)) error {
	at := cmp.Or(t.At, t.Issuer)
	var last error
	for _, ca := range cas {
		t.CA = ca
		found, err := setup.Published(ctx, at, ca, timeout)
		if err != nil {
			last = err
			continue
		}
		switch {
		case found.URL != issuer.URL:
			return Refusal{fmt.Errorf("the documents at %s belong to issuer %s, but the main region's issuer is %s", at, mirror.Address(found.URL), issuer.URL)}
		case !slices.Equal(keyIDs(found.Keys), keyIDs(issuer.Keys)):
			say(fmt.Sprintf("Warning: the keys at %s differ from the main region's, so tokens may be rejected. Update the copy with --static DIR", at))
		}
		if found.KeptFor > 0 {
			say(fmt.Sprintf("%s's API servers may cache these keys for %s, as the headers at %s allow. Publish a new signing key at least that long before you use it.", t.Remote, duration.HumanDuration(found.KeptFor), at))
		}
		return nil
	}
	t.CA = cas[0] // a guess, because none of the CAs works from here
	say(fmt.Sprintf("Warning: %s's API servers must be able to read %s%s without credentials, but this failed from here: %s. See docs/keyless.md, \"Publish the public keys\".", t.Remote, strings.TrimSuffix(at, "/"), setup.DiscoveryPath, mirror.Explain(last)))
	return nil
}

// keyIDs returns the sorted key IDs of a JWKS.
func keyIDs(keys []byte) []string {
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if json.Unmarshal(keys, &set) != nil {
		return nil
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.ID)
	}
	slices.Sort(ids)
	return ids
}
