package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/fernetcast/fernetcast/internal/access"
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

// refused adds to an error that nothing was changed, and makes the exit code 1 except for an
// [access.Refusal].
func refused(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("nothing was changed: %w", err)
	if errors.As(err, new(access.Refusal)) {
		return err
	}
	return exitError{err}
}

// verdict returns nil if the source and all remotes are healthy, and an empty exitError otherwise.
func verdict(st mirror.Status) error {
	if st.Well() {
		return nil
	}
	return exitError{}
}

// verdicts returns a function that prints a status and returns its verdict.
func verdicts(cmd *cobra.Command, opts show.Options) func(mirror.Status) error {
	write := opts.To(cmd.OutOrStdout())
	return func(st mirror.Status) error {
		st.Source.Detail, st.Remotes = advise(cmd, st.Source.Detail), slices.Clone(st.Remotes)
		for i, r := range st.Remotes {
			st.Remotes[i].Detail = advise(cmd, r.Detail)
		}
		if err := write(st); err != nil {
			return exitError{err}
		}
		return verdict(st)
	}
}
