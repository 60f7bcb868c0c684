package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/client-go/rest"
)

// tokensSecret contains the tokens from renew --self for the kubeconfigs in defaultSecret.
const tokensSecret = "fernetcast-tokens"

// stored gives access to the remotes' kubeconfigs and tokens in the source's cluster, for
// commands that change them with the operator's credentials.
type stored struct {
	home    *rest.Config // must not be changed
	apis    *setup.APIs
	entries access.Entries // kubeconfigs
	tokens  access.Entries // from renew --self
}

// stored sends no requests.
func (o *options) stored() (s stored, err error) {
	name, err := o.entries()
	if err != nil {
		return s, err
	}
	if s.home, s.apis, err = o.connect(); err != nil {
		return s, err
	}
	secrets := s.apis.Core.Secrets(o.namespace)
	s.entries, s.tokens = access.NewEntries(secrets, name), access.NewEntries(secrets, tokensOf(name))
	return s, nil
}

// entries returns the name of the Secret with the remotes' kubeconfigs. It rejects a directory,
// because commands that change kubeconfigs can't write there.
func (o *options) entries() (string, error) {
	o.clusters = cmp.Or(o.clusters, defaultSecret)
	name, ok := strings.CutPrefix(o.clusters, secretPrefix)
	if !ok {
		return "", fmt.Errorf("--clusters %q: this command requires secret/NAME", o.clusters)
	}
	return name, nil
}

// tokensOf returns the name of the Secret with the tokens for the kubeconfigs in another Secret.
func tokensOf(entries string) string {
	if secretPrefix+entries == defaultSecret {
		return tokensSecret
	}
	return entries + "-tokens"
}
