package cli

import (
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/spf13/cobra"
)

func newPush(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "push [REMOTE...]",
		Short: "Push the keys once and print the status",
		Long: `Pushes the source's keys once, to the named remotes or to all, and prints their
status. It makes the same decisions as run, but does not wait or retry.

--force also pushes keys that do not continue the remote's last pushed keys, for
example after you deliberately recreated them. It does not override anything else:
only promote changes which main region owns a copy.`,
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
			return verdicts(cmd, show.Options{})(s.status(s.push(cmd.Context(), names, force)))
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also push keys that do not continue those last pushed to the remote")
	o.identityFlag(cmd)
	return cmd
}
