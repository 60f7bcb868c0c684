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
		Short: "Make this cluster the main",
		Long: `Makes this cluster the main, at installation or at a failover, under the name
that Keystone's catalogue has for the region. It reads every remote, shows what
will change and whom it could not reach, asks, marks this cluster's Secret with
a term above all that it read, and pushes, to an old main first. On the present
main it raises the term.

It refuses while a reachable copy or main is ahead of this cluster's keys, or
not kin to them: their tokens would be lost. It also refuses a term that one
cluster alone has, and that is more than 1,000 above all others': --ignore
promotes without counting that remote. --force promotes in spite of both, and
replaces a mark or an owner on this cluster's Secret that cannot be read.

It is run with an operator's rights: the sidecar may not write the source.

--dry-run prints the plan and changes nothing. -o json prints the plan and, unless
it is a dry run, the status after the pushes.`,
		Example:           "  fernetcast promote sjc --dry-run\n  fernetcast promote sjc --yes",
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              o.promote,
	}
	o.register(cmd)
	cmd.Flags().BoolVar(&o.Force, "force", false, "also where keys of a reachable copy or main are lost, a term is far above all others', or a mark or owner here cannot be read")
	cmd.Flags().StringArrayVar(&o.Ignore, "ignore", nil, "do not count the terms of this remote (repeatable)")
	complete(cmd, "ignore", o.completeRemotes)
	return cmd
}

func (o *promoteOptions) promote(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("promote takes one REGION")
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
