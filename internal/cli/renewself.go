package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// renewSelf renews by the present tokens, into a Secret of their own.
func (o *renewOptions) renewSelf(cmd *cobra.Command, names []string) error {
	files, err := clusters.Read(cmp.Or(o.clusters, defaultDirectory), o.tokens)
	if err != nil {
		return exitError{err}
	}
	_, here, err := o.connect()
	if err != nil {
		return err
	}
	tokens := access.NewEntries(here.Core.Secrets(o.namespace), tokensSecret)
	kept, err := tokens.Read(cmd.Context())
	if err != nil {
		return exitError{fmt.Errorf("nothing was changed: reading Secret %s/%s: %s", o.namespace, tokensSecret, mirror.Explain(err))}
	}
	files = clusters.WithTokens(files, kept) // newer than what is mounted
	for i, f := range files {
		if f.Err == nil {
			files[i].Data, files[i].Err = present(f)
		}
	}
	return o.renew(cmd, files, names, func(f clusters.File) store {
		return func(ctx context.Context, _ []byte, token string) error {
			if err := tokens.Store(ctx, access.Change{Entry: f.Name, Was: kept[f.Name], Now: []byte(token)}); err != nil {
				return fmt.Errorf("storing it in Secret %s/%s: %s", o.namespace, tokensSecret, mirror.Explain(err))
			}
			return nil
		}
	})
}

// present is a file's kubeconfig with the token that counts.
func present(f clusters.File) ([]byte, error) {
	k, err := kubeconfig.Parse(f.Data, true)
	if err != nil {
		return nil, err
	}
	if k.Keyless() {
		return f.Data, nil
	}
	return kubeconfig.WithToken(f.Data, f.Bearer(k.Token))
}
