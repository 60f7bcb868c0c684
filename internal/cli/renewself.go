package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// renewSelf renews tokens with the current tokens, and stores them in a separate Secret.
func (o *renewOptions) renewSelf(cmd *cobra.Command, s *session, names []string) error {
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
	files = clusters.WithTokens(files, kept) // the mounted tokens can be older
	return o.renew(cmd, s, files, names, func(ctx context.Context, f clusters.File, _ []byte, token string) error {
		return o.keep(ctx, tokens, access.Change{Entry: f.Name, Was: kept[f.Name], Now: []byte(token)})
	})
}
