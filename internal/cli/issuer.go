package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/client-go/rest"
)

// issuerOf reads who issues a cluster's tokens.
func (o *options) issuerOf(ctx context.Context, cfg *rest.Config) (setup.Issuer, error) {
	apis, err := o.apis(cfg)
	if err != nil {
		return setup.Issuer{}, err
	}
	defer apis.Close()
	return apis.Issuer(ctx)
}

// published finds the CA by which the issuer's documents can be read, and says where
// they cannot be read from here, or a static copy is of another day.
func (o *joinOptions) published(ctx context.Context, t *access.Trust, home *rest.Config, issuer setup.Issuer, remote string, say func(string)) error {
	tries := [][]byte{nil}
	if o.ca != "" {
		given, err := os.ReadFile(o.ca)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		tries = [][]byte{given}
	} else if own, err := caOf(home); err == nil && own != nil {
		tries = append(tries, own)
	}
	at := cmp.Or(o.at, t.Issuer)
	var last error
	for _, ca := range tries {
		t.CA = ca
		found, err := setup.Published(ctx, at, ca, o.requestTimeout)
		if err != nil {
			last = err
			continue
		}
		switch {
		case found.URL != issuer.URL:
			return fmt.Errorf("what is published at %s is of another issuer, %s; the main's is %s", at, mirror.Printable(found.URL), issuer.URL)
		case !sameKeys(found.Keys, issuer.Keys):
			say(fmt.Sprintf("Warning: the copy at %s has not just the keys that the main has: tokens may be refused. Write it again with --static DIR", at))
		}
		if found.KeptFor > 0 {
			say(fmt.Sprintf("%s's API servers may keep these keys for %s, as the headers at %s allow: a new signing key has to be published that long before it signs.", remote, found.KeptFor.Round(time.Second), at))
		}
		return nil
	}
	t.CA = tries[0] // none of them is known to be right
	say(fmt.Sprintf("Warning: %s's API servers have to read %s%s without credentials, and from here that fails: %s. See docs/keyless.md, \"Publish the public keys\".", remote, strings.TrimSuffix(at, "/"), setup.DiscoveryPath, mirror.Explain(last)))
	return nil
}

// caOf is the CA of a config, PEM; nil for the system's own.
func caOf(cfg *rest.Config) ([]byte, error) {
	if len(cfg.CAData) > 0 || cfg.CAFile == "" {
		return cfg.CAData, nil
	}
	return os.ReadFile(cfg.CAFile)
}

// sameKeys says whether two key sets have the same keys, by their ids.
func sameKeys(a, b []byte) bool {
	return slices.Equal(keyIDs(a), keyIDs(b))
}

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
