package cli

import (
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/spf13/cobra"
)

func newPush(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "push [REMOTE...]",
		Short: "Push once, print the table, exit",
		Long: `Pushes the source's keys to the named remotes, or to all, once, and prints how
each stands then. It decides as run does, but does not wait where run waits.

With --force it also pushes a key set that does not continue the one that a
remote was given: the answer to a deliberate re-key of the same Secret. Nothing
else is overridden; who owns a copy, only promote changes.`,
		Example:           "  fernetcast push\n  fernetcast push dfw",
		ValidArgsFunction: o.completeRemotes,
		RunE: func(cmd *cobra.Command, names []string) error {
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			if names, err = s.choose(names); err != nil {
				return err
			}
			return verdicts(cmd.OutOrStdout(), show.Options{})(s.status(s.push(cmd.Context(), names, force)))
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "push also a key set that does not continue what the remote was given")
	o.identityFlag(cmd)
	return cmd
}
