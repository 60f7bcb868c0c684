package cli

import (
	"errors"
	"fmt"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

func newPromote(all *options) *cobra.Command {
	o := &promoteOptions{options: all}
	cmd := &cobra.Command{
		Use:   "promote REGION",
		Short: "Make this cluster the main region",
		Long: `Makes this cluster the main region, at installation or during a failover. REGION is
the region's name in Keystone's catalog. promote reads every remote, shows what
will change and which remotes it could not reach, and asks for confirmation. Then
it marks this cluster's Secret with a term higher than any it has read, and pushes
the keys, to the old main region first. In the current main region, it raises the
term.

It refuses if a remote has keys that are newer than this cluster's or unrelated to
them, because tokens would become invalid. It also refuses if the highest term
exceeds all others by more than 1,000: --ignore excludes that remote's term.
--force overrides both, and replaces an unreadable mark on this cluster's Secret.

It writes with your credentials, because the sidecar can only read the source.

--dry-run prints the plan and changes nothing. -o json prints the plan and, without
--dry-run, the status after the pushes.`,
		Example:           "  fernetcast promote sjc --dry-run\n  fernetcast promote sjc --yes",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              o.promote,
	}
	o.register(cmd)
	cmd.Flags().BoolVar(&o.Force, "force", false, "promote even if a remote's tokens become invalid, a term is unusually high, or a mark here is unreadable")
	cmd.Flags().StringArrayVar(&o.Ignore, "ignore", nil, "ignore this remote's term (repeatable)")
	complete(cmd, "ignore", o.completeRemotes)
	return cmd
}

func (o *promoteOptions) promote(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("promote requires exactly one REGION")
	}
	if err := mirror.CheckRegion(args[0]); err != nil {
		return err
	}
	o.Region = args[0]
	p, err := o.begin(cmd, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	if _, err := p.choose(o.Ignore); err != nil {
		return fmt.Errorf("--ignore: %w", err)
	}
	return p.run(cmd, &p.promotion)
}
