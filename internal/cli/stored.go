package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/client-go/rest"
)

// tokensSecret has the tokens that renew keeps beside the kubeconfigs of defaultSecret.
const tokensSecret = "fernetcast-tokens"

// stored holds the Secrets that the source's cluster keeps about the remotes, for the
// commands that write them with an operator's rights.
type stored struct {
	home    *rest.Config // not to be changed
	apis    *setup.APIs
	entries access.Entries // kubeconfigs
	tokens  access.Entries // those that renew --self keeps
}

// stored returns them. Nothing is sent.
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

// entries returns the name of the Secret with the remotes' kubeconfigs, for the commands
// that write there.
func (o *options) entries() (string, error) {
	o.clusters = cmp.Or(o.clusters, defaultSecret)
	name, ok := strings.CutPrefix(o.clusters, secretPrefix)
	if !ok {
		return "", fmt.Errorf("--clusters %q: this command requires secret/NAME", o.clusters)
	}
	return name, nil
}

// tokensOf returns the name of the Secret with the tokens for a Secret of kubeconfigs.
func tokensOf(entries string) string {
	if secretPrefix+entries == defaultSecret {
		return tokensSecret
	}
	return entries + "-tokens"
}
