package cli

import (
	"context"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
)

func newStatus(o *options) *cobra.Command {
	var how show.Options
	cmd := &cobra.Command{
		Use:   "status [REMOTE...]",
		Short: "Compare the source and every remote",
		Long: `Reads the source and every remote, or only those named, live, and compares them. run
need not be running. It changes nothing.

The table lists unhealthy remotes first and ends with a summary. BEHIND is the
number of rotations that a remote has missed. At 1, the next rotation breaks the
main region's new tokens there. At 2, they are broken. "?" means that the source's
keys do not continue the remote's. Credentials are shown if they expire within 30d.

On a terminal, the states are colored, unless NO_COLOR is set or TERM is dumb. Rows
are cut with "…" at the right edge, except with -o wide. Output to a pipe is never
cut. The exit code and the summary cover all remotes, even with --only-unwell.`,
		Example:           "  fernetcast status\n  fernetcast status -o wide --only-unwell",
		ValidArgsFunction: o.completeRemotes,
		RunE: func(cmd *cobra.Command, names []string) error {
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			if _, err := s.choose(names); err != nil {
				return err
			}
			write := verdicts(cmd, how)
			if how.Stream {
				return s.watch(cmd.Context(), names, write)
			}
			return write(s.of(cmd.Context(), names))
		},
	}
	choose(cmd, cmd.Flags(), &how.Format, "output", "o", "table, wide, json, or yaml", show.Formats...)
	cmd.Flags().BoolVar(&how.OnlyUnwell, "only-unwell", false, "show only unhealthy remotes")
	cmd.Flags().BoolVarP(&how.Stream, "watch", "w", false, "repeat every 2s; redraw on a terminal, otherwise append")
	o.identityFlag(cmd)
	return cmd
}

// of returns the status of the source and the named remotes or, without names, of all remotes. It
// ignores removed remotes.
func (s *session) of(ctx context.Context, names []string) mirror.Status {
	all := s.set.Names()
	if len(names) > 0 {
		all = slices.DeleteFunc(all, func(name string) bool { return !slices.Contains(names, name) })
	}
	st := s.status(s.look(ctx, all))
	if idle := st.Idle(time.Now()); idle != "" {
		st.Source.Detail = idle + mirror.Kubectl("", s.opts.namespace) + " logs deploy/keystone-api -c fernetcast"
	}
	return st
}

// watch writes the status every 2 s until ctx ends. It returns the last verdict.
func (s *session) watch(ctx context.Context, names []string, write func(mirror.Status) error) (verdict error) {
	first := true
	_ = wait.PollUntilContextCancel(ctx, watchEvery, true, func(context.Context) (bool, error) {
		if !first {
			s.reread(ctx)
		}
		first = false
		if st := s.of(ctx, names); ctx.Err() == nil { // otherwise, the reads were interrupted
			verdict = write(st)
		}
		return false, nil
	})
	return verdict
}
