package cli

import (
	"context"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"
)

// completeRemotes completes the names of remotes that aren't among the arguments yet.
func (o *options) completeRemotes(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completed(cmd.Context(), func(ctx context.Context) ([]string, error) {
		_, apis, err := o.connect()
		if err != nil {
			return nil, err
		}
		s := &session{opts: o, secrets: apis.Secrets(o.namespace), log: slog.New(slog.DiscardHandler)}
		files, err := s.files(ctx)
		var names []string
		for _, f := range files {
			if !slices.Contains(given, f.Name) {
				names = append(names, f.Name)
			}
		}
		return names, err
	})
}

// completeRemote completes the only argument, a remote's name.
func (o *options) completeRemote(cmd *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.completeRemotes(cmd, nil, prefix)
}
