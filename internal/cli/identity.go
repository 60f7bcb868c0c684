package cli

import (
	"fmt"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
)

// usualIdentity is the account of manifests/identity.
const usualIdentity = "fernetcast-identity"

// identityFlag registers the flag of the commands that reach remotes.
func (o *options) identityFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.identity, "identity", "", "ServiceAccount of the source's namespace, of manifests/identity ("+usualIdentity+"), whose tokens of an hour\nsign in where a kubeconfig has no credentials (default: such a kubeconfig is refused)")
}

func checkIdentity(account string) error {
	if account != "" && validation.IsDNS1123Subdomain(account) != nil {
		return fmt.Errorf("--identity %q is no ServiceAccount's name", account)
	}
	return nil
}

// mint makes the tokens of --identity; nil without it.
func (o *options) mint() clusters.Mint {
	if o.identity == "" {
		return nil
	}
	return setup.NewMinter(setup.MintOptions{
		Config: o.sourceConfig, Namespace: o.namespace, Account: o.identity, UserAgent: userAgent(), Timeout: o.requestTimeout,
	}).Mint
}
