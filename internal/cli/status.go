package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
)

// watchEvery is how often status --watch and wait look.
const watchEvery = 2 * time.Second

// clearScreen puts the cursor at the top and clears what is below it.
const clearScreen = "\x1b[H\x1b[2J"

func newStatus(o *options) *cobra.Command {
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Read the source and every remote, and compare",
		Long: `Reads the source and every remote live and compares them, whether or not run is
up. It changes nothing.

BEHIND is how many rotations a remote is behind: at 1 the next rotation breaks
the main's new tokens there, at 2 they are broken; "?" where the source's keys do
not continue the remote's.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("--output %q: it has to be table or json", output)
			}
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			show := func(st mirror.Status) error {
				terminal := isTerminal(out)
				if output == "json" {
					return printJSON(out, st, watch)
				}
				if watch && terminal {
					fmt.Fprint(out, clearScreen)
				}
				err := printTable(out, st)
				if watch && !terminal {
					fmt.Fprintln(out)
				}
				return err
			}
			if watch {
				return s.watch(cmd.Context(), show)
			}
			return show(s.status(s.look(cmd.Context(), s.set.Names())))
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every 2 s: redraw on a terminal, append elsewhere")
	return cmd
}

// watch shows a status every 2 s until it is interrupted, and returns the last verdict.
func (s *session) watch(ctx context.Context, show func(mirror.Status) error) (verdict error) {
	first := true
	_ = wait.PollUntilContextCancel(ctx, watchEvery, true, func(context.Context) (bool, error) {
		if !first {
			s.reread(ctx)
		}
		first = false
		if st := s.status(s.look(ctx, s.set.Names())); ctx.Err() == nil { // else it was cut short, and says nothing
			verdict = show(st)
		}
		return false, nil
	})
	return verdict
}

// verdict is nil where the source and all remotes are well, else exit code 1.
func verdict(st mirror.Status) error {
	if st.Well() {
		return nil
	}
	return exitError{}
}

// printJSON prints the document, in a line where it is one of a stream, and
// returns the verdict.
func printJSON(out io.Writer, st mirror.Status, stream bool) error {
	encoder := json.NewEncoder(out)
	if !stream {
		encoder.SetIndent("", "  ")
	}
	if err := encoder.Encode(st); err != nil {
		return exitError{fmt.Errorf("writing the status: %w", err)}
	}
	return verdict(st)
}
