package cli

import (
	"context"
	"errors"
	"time"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
)

// checkOptions holds the flags of check.
type checkOptions struct {
	*options
	remotePlace
	output string
	wait   time.Duration
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
	o.remotePlace.register(cmd, all)
	choose(cmd, cmd.Flags(), &o.output, "output", "o", "text, short, or json", "text", "short", "json")
	periodVar(cmd.Flags(), &o.wait, "wait", 0, 0, "how long to repeat the checks while one fails")
	o.identityFlag(cmd)
	return cmd
}

func (o *checkOptions) run(cmd *cobra.Command, names []string) error {
	if o.remoteContext != "" && len(names) > 0 {
		return errors.New("--remote-context cannot be combined with REMOTE")
	}
	var report preflight.Report
	failed := false
	err := wait.PollUntilContextTimeout(cmd.Context(), watchEvery, o.wait, true, func(context.Context) (bool, error) {
		remotes, source, err := o.targets(cmd, names)
		if err != nil {
			return false, err
		}
		report = preflight.ExamineAll(cmd.Context(), remotes)
		failed = report.Failed() || len(remotes) == 0 && source.State() == mirror.SourceMain
		return !failed, nil
	})
	if err != nil && !wait.Interrupted(err) {
		return err
	}
	screen := show.ScreenOf(cmd.OutOrStdout())
	paint := func(r preflight.Result, text string) string {
		return screen.Paint(text, map[preflight.Result]string{preflight.Pass: show.Green, preflight.Warn: show.Yellow, preflight.Fail: show.Red}[r])
	}
	if err := printed(cmd, o.output, report, report.Text(o.output == "short", o.namespace, paint)); err != nil {
		return err
	}
	if failed {
		return exitError{}
	}
	return nil
}

// targets returns the remotes to check (the named ones, all, or --remote-context) and the source.
func (o *checkOptions) targets(cmd *cobra.Command, names []string) (remotes []preflight.Remote, source mirror.Source, err error) {
	var there place
	if o.remoteContext != "" {
		if there, err = o.place("", kubeconfig.Config{}); err != nil {
			return nil, source, err
		}
	}
	s, err := o.session(cmd)
	if err != nil {
		return nil, source, err
	}
	source, _ = s.source.Get(cmd.Context()) // if it can't be read, checks that need it are skipped
	if there.config != nil {
		return []preflight.Remote{o.byOperator(there, there.config, source)}, source, nil
	}
	files, err := s.files(cmd.Context())
	if err != nil {
		return nil, source, exitError{err}
	}
	if files, err = s.chooseFiles(files, names); err != nil {
		return nil, source, err
	}
	schedule := s.home.RenewalSchedule(cmd.Context(), o.namespace)
	for _, f := range files {
		remote := o.target(f, source)
		remote.Schedule = schedule
		remotes = append(remotes, remote)
	}
	return remotes, source, nil
}
