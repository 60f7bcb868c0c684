package cli

import (
	"context"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
)

func newStatus(o *options) *cobra.Command {
	var how show.Options
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Read the source and every remote, and compare",
		Long: `Reads the source and every remote live and compares them, whether or not run is
up. It changes nothing.

The table has those first that are not well, and sums up all in its last line.
BEHIND is how many rotations a remote is behind: at 1 the next rotation breaks
the main's new tokens there, at 2 they are broken; "?" where the source's keys do
not continue the remote's. Credentials are named where they expire within 30 days.

On a terminal the states are coloured, unless NO_COLOR is set or TERM is dumb, and
rows are cut with "…" at its edge: -o wide cuts nothing. In a pipe nothing is cut. The exit code and the last line count all remotes, also with
--only-unwell.`,
		Example:           "  fernetcast status\n  fernetcast status -o wide --only-unwell",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			write := verdicts(cmd.OutOrStdout(), how)
			if how.Stream {
				return s.watch(cmd.Context(), write)
			}
			return write(s.status(s.look(cmd.Context(), s.set.Names())))
		},
	}
	choose(cmd, cmd.Flags(), &how.Format, "output", "o", "table, wide, json, or yaml", show.Formats...)
	cmd.Flags().BoolVar(&how.OnlyUnwell, "only-unwell", false, "show only the remotes that are not well")
	cmd.Flags().BoolVarP(&how.Stream, "watch", "w", false, "look again every 2 s: redraw on a terminal, append elsewhere")
	o.identityFlag(cmd)
	return cmd
}

// watch writes a status every 2 s until ctx ends, and returns the last verdict.
func (s *session) watch(ctx context.Context, write func(mirror.Status) error) (verdict error) {
	first := true
	_ = wait.PollUntilContextCancel(ctx, watchEvery, true, func(context.Context) (bool, error) {
		if !first {
			s.reread(ctx)
		}
		first = false
		if st := s.status(s.look(ctx, s.set.Names())); ctx.Err() == nil { // otherwise it was interrupted
			verdict = write(st)
		}
		return false, nil
	})
	return verdict
}
