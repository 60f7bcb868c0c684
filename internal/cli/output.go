package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/spf13/cobra"
)

// Exit codes of all commands.
const (
	exitOK      = 0
	exitTrouble = 1 // the source or a remote is unhealthy, or the command failed
	exitUsage   = 2 // invalid usage or configuration
)

// An exitError makes the exit code 1. If err is nil, nothing more is printed.
type exitError struct{ err error }

func (e exitError) Error() string { return fmt.Sprint(e.err) }
func (e exitError) Unwrap() error { return e.err }

// verdict returns nil if the source and all remotes are healthy, and an empty exitError otherwise.
func verdict(st mirror.Status) error {
	if st.Well() {
		return nil
	}
	return exitError{}
}

// verdicts returns a function that writes a status and returns its verdict.
func verdicts(out io.Writer, opts show.Options) func(mirror.Status) error {
	write := opts.To(out)
	return func(st mirror.Status) error {
		if err := write(st); err != nil {
			return exitError{err}
		}
		return verdict(st)
	}
}

// requireTerminal returns an error if the command must ask for confirmation, but stdin isn't a
// terminal. skip means that the command doesn't ask.
func requireTerminal(cmd *cobra.Command, skip bool) error {
	if !skip && !show.IsTerminal(cmd.InOrStdin()) {
		return fmt.Errorf("%s asks for confirmation, but stdin is not a terminal: add --yes", cmd.Name())
	}
	return nil
}

// confirmed asks on stderr, and reports whether the answer is yes. It returns false if ctx ends.
func confirmed(ctx context.Context, cmd *cobra.Command) bool {
	fmt.Fprint(cmd.ErrOrStderr(), "Continue? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		return line == "y" || line == "yes"
	case <-ctx.Done():
		fmt.Fprintln(cmd.ErrOrStderr())
		return false
	}
}
