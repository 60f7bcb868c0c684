package cli

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completionTime bounds what a shell waits for.
const completionTime = 1500 * time.Millisecond

// completed is what a shell completes with; nothing where it cannot be had in time.
// A credential plugin of the operator's knows no deadline, so it is left behind.
func completed(ctx context.Context, names func(context.Context) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	found := make(chan []string, 1)
	go func() {
		list, err := names(ctx)
		if err != nil {
			list = nil // a shell's prompt is no place for errors
		}
		found <- list
	}()
	select {
	case list := <-found:
		return list, cobra.ShellCompDirectiveNoFileComp
	case <-ctx.Done():
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeRemotes completes the names of remotes that are not given yet.
func (o *options) completeRemotes(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	return completed(cmd.Context(), func(ctx context.Context) ([]string, error) {
		client, err := o.connect()
		if err != nil {
			return nil, err
		}
		defer client.Close()
		s := &session{opts: o, secrets: client.Secrets(o.namespace), log: slog.New(slog.DiscardHandler)}
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

// completeRemote completes the name of one remote.
func (o *options) completeRemote(cmd *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.completeRemotes(cmd, nil, prefix)
}

// completeContexts completes the contexts of the kubeconfig that a flag names.
func completeContexts(kubeconfig *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return completed(cmd.Context(), func(context.Context) ([]string, error) {
			raw, err := contexts(*kubeconfig)
			if err != nil {
				return nil, err
			}
			return contextsOf(raw), nil
		})
	}
}

// complete sets how the value of a flag is completed, which has to be there.
func complete(cmd *cobra.Command, flag string, with cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, with); err != nil {
		panic(err) // no such flag: a mistake of ours
	}
}

// choice is the value of a flag that has to be one of some. It implements [pflag.Value].
type choice struct {
	to *string
	of []string
}

// choose registers such a flag, of which the first one is the default, and completes it.
func choose(cmd *cobra.Command, flags *pflag.FlagSet, to *string, name, short, help string, of ...string) {
	*to = of[0]
	flags.VarP(choice{to, of}, name, short, help)
	complete(cmd, name, cobra.FixedCompletions(of, cobra.ShellCompDirectiveNoFileComp))
}

func (c choice) String() string { return *c.to }

// Type is what --help shows.
func (choice) Type() string { return "string" }

// Set takes one of the values.
func (c choice) Set(value string) error {
	if !slices.Contains(c.of, value) {
		return fmt.Errorf("it has to be one of %s", strings.Join(c.of, ", "))
	}
	*c.to = value
	return nil
}
