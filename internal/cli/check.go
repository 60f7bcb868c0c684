package cli

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
)

// checkOptions holds the flags of check.
type checkOptions struct {
	*options
	remotePlace
	output string
}

func newCheck(all *options) *cobra.Command {
	o := &checkOptions{options: all}
	cmd := &cobra.Command{
		Use:   "check [REMOTE...]",
		Short: "Diagnose the connection to each remote",
		Long: `Checks each remote, or only those named, step by step: its kubeconfig, network path,
certificate, clock, version, credentials, permissions, and Secret. It changes
nothing, and works before run has ever been started.

The results depend on where it runs, which the first line shows. The main region's
pods matter most. With --remote-context, it checks your own context, for example
before join.

The exit code is 1 if a check fails. Warnings do not affect it.`,
		Example: `  fernetcast check
  fernetcast check dfw -o short
  fernetcast check --remote-context dfw`,
		ValidArgsFunction: o.completeRemotes,
		RunE:              o.run,
	}
	o.remotePlace.register(cmd)
	choose(cmd, cmd.Flags(), &o.output, "output", "o", "text, short, or json", "text", "short", "json")
	o.identityFlag(cmd)
	return cmd
}

func (o *checkOptions) run(cmd *cobra.Command, names []string) error {
	if o.remoteContext != "" && len(names) > 0 {
		return errors.New("--remote-context cannot be combined with REMOTE")
	}
	remotes, err := o.targets(cmd, names)
	if err != nil {
		return err
	}
	report := preflight.ExamineAll(cmd.Context(), remotes)
	if err := report.Write(cmd.OutOrStdout(), o.output); err != nil {
		return err
	}
	if report.Failed() {
		return exitError{}
	}
	return nil
}

// targets returns the remotes to check: the named ones, all, or --remote-context.
func (o *checkOptions) targets(cmd *cobra.Command, names []string) ([]preflight.Remote, error) {
	var there place
	if o.remoteContext != "" {
		var err error
		if there, err = o.there(); err != nil {
			return nil, fmt.Errorf("--remote-context: %w", err)
		}
	}
	s, err := o.session(cmd)
	if err != nil {
		return nil, err
	}
	source, _ := s.source.Get(cmd.Context()) // if it can't be read, checks that need it are skipped
	if there.config != nil {
		return []preflight.Remote{o.byOperator(o.remoteContext, there.config, source)}, nil
	}
	files, err := s.files(cmd.Context())
	if err != nil {
		return nil, exitError{err}
	}
	s.set.Apply(files)
	if names, err = s.choose(names); err != nil {
		return nil, err
	}
	var remotes []preflight.Remote
	for _, f := range files {
		if slices.Contains(names, f.Name) {
			remotes = append(remotes, o.target(f, source))
		}
	}
	return remotes, nil
}

// examination returns the options that are the same for all remotes.
func (o *options) examination(source mirror.Source) preflight.Options {
	return preflight.Options{Secret: o.secret, Source: source, Timeout: o.requestTimeout, UserAgent: userAgent()}
}

// byOperator returns a remote that is checked with the operator's credentials.
func (o *options) byOperator(context string, cfg *rest.Config, source mirror.Source) preflight.Remote {
	return preflight.Remote{
		Options: o.examination(source), Name: context, Config: cfg, Namespace: o.namespace, Expires: kubeconfig.Expiry(cfg), Operator: true,
	}
}

// target returns the remote for a kubeconfig file, with the same client config as in run.
func (o *options) target(f clusters.File, source mirror.Source) preflight.Remote {
	r := preflight.Remote{Options: o.examination(source), Name: f.Name, Refused: f.Err}
	if f.Err != nil {
		return r
	}
	mint := o.mint()
	k, err := kubeconfig.Parse(f.Data, mint != nil)
	if err != nil {
		r.Refused = err
		return r
	}
	if r.SignIn = clusters.SignIn(f.Name, k, mint, r.Timeout, slog.New(slog.DiscardHandler)); r.SignIn.Tokens == nil {
		k.Token, r.TokenErr = f.Bearer(k.Token), f.TokenErr
	}
	r.Config, r.Namespace = k.ClientConfig(), cmp.Or(k.Namespace, o.namespace)
	r.Expires = kubeconfig.Expiry(r.Config)
	return r
}
