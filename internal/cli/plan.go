package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// change holds the flags of a command that shows a plan, asks for confirmation, and applies
// the plan.
type change struct {
	output      string
	dryRun, yes bool
}

func (c *change) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "print the plan and exit")
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do not ask for confirmation")
}

// approved shows a plan and reports whether to apply it. If not, the command must return the
// error, which is nil for --dry-run. With --dry-run and -o json, approved prints result.
func (c *change) approved(cmd *cobra.Command, plan []string, result any) (bool, error) {
	out := cmd.ErrOrStderr()
	if c.dryRun && c.output != "json" {
		out = cmd.OutOrStdout()
	}
	for _, line := range plan {
		fmt.Fprintln(out, line)
	}
	switch {
	case c.dryRun && c.output == "json":
		return false, json.NewEncoder(cmd.OutOrStdout()).Encode(result)
	case c.dryRun:
		return false, nil
	case c.yes || confirmed(cmd.Context(), cmd):
		return true, nil
	}
	return false, exitError{errors.New("nothing was changed")}
}
