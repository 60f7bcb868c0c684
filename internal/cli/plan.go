package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/fernetcast/fernetcast/internal/show"
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

// requireTerminal returns an error if the command must ask for confirmation, but stdin isn't a
// terminal.
func (c *change) requireTerminal(cmd *cobra.Command) error {
	if !c.yes && !c.dryRun && !show.IsTerminal(cmd.InOrStdin()) {
		return fmt.Errorf("%s asks for confirmation, but stdin is not a terminal: add --yes", cmd.Name())
	}
	return nil
}

// notes returns the stream for the plan and the progress: stderr with -o json, stdout with
// --dry-run, and usual in all other cases.
func (c *change) notes(cmd *cobra.Command, usual io.Writer) io.Writer {
	switch {
	case c.output == "json":
		return cmd.ErrOrStderr()
	case c.dryRun:
		return cmd.OutOrStdout()
	}
	return usual
}

// approved shows a plan and reports whether to apply it. If not, the command must return the
// error, which is nil for --dry-run. With --dry-run and -o json, approved prints document.
func (c *change) approved(cmd *cobra.Command, notes io.Writer, plan []string, document any) (bool, error) {
	for _, line := range plan {
		fmt.Fprintln(notes, advise(cmd, line))
	}
	switch {
	case cmd.Context().Err() != nil:
	case c.dryRun:
		return false, printed(cmd, c.output, document, "")
	case c.yes || confirmed(cmd):
		return true, nil
	}
	return false, exitError{errors.New("nothing was changed")}
}

// confirmed asks on stderr, and reports whether the answer is yes. It returns false if the context ends.
func confirmed(cmd *cobra.Command) bool {
	fmt.Fprint(cmd.ErrOrStderr(), "Continue? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		return line == "y" || line == "yes"
	case <-cmd.Context().Done():
		fmt.Fprintln(cmd.ErrOrStderr())
		return false
	}
}

// printed prints a result: document with -o json, otherwise text.
func printed(cmd *cobra.Command, format string, document any, text string) (err error) {
	if out := cmd.OutOrStdout(); format == "json" {
		var encoded []byte
		if encoded, err = json.Marshal(document); err == nil {
			_, err = out.Write(append(adviseJSON(cmd, encoded), '\n'))
		}
	} else {
		_, err = io.WriteString(out, advise(cmd, text))
	}
	if err != nil {
		return exitError{fmt.Errorf("writing the result: %w", err)}
	}
	return nil
}
