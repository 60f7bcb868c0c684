package cli

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// completionTime limits how long shell completion can block the prompt.
const completionTime = 1500 * time.Millisecond

// completeRemotes completes the names of remotes that aren't among the arguments yet. It returns
// nothing after an error or a timeout. Connecting can run a credential plugin that ignores ctx, so
// completeRemotes abandons its goroutine.
func (o *options) completeRemotes(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	found := make(chan []string, 1)
	go func() { found <- o.remoteNames(ctx) }()
	select {
	case names := <-found:
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(given, name) }), cobra.ShellCompDirectiveNoFileComp
	case <-ctx.Done():
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// remoteNames returns the names of the remotes, or nil after an error, because printing the error would disturb the prompt.
func (o *options) remoteNames(ctx context.Context) (names []string) {
	home, err := o.connect()
	if err != nil {
		return nil
	}
	s := &session{opts: o, home: home, log: slog.New(slog.DiscardHandler)}
	files, _ := s.files(ctx)
	for _, f := range files {
		names = append(names, f.Name)
	}
	return names
}

// completeRemote completes the only argument, a remote's name.
func (o *options) completeRemote(cmd *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.completeRemotes(cmd, nil, prefix)
}
