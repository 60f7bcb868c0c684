package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// watchEvery is how often status --watch looks.
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
			v := view{session: s, out: cmd.OutOrStdout(), format: s.show}
			switch {
			case output == "json" && watch:
				v.format = s.showLine
			case output == "json":
				v.format = s.showJSON
			default:
				v.screen = isTerminal(v.out)
				v.gap = !v.screen
			}
			if watch {
				return v.watch(cmd.Context())
			}
			return v.format(v.out, s.stand(cmd.Context()))
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every 2 s: redraw on a terminal, append elsewhere")
	return cmd
}

// stand is how all remotes stand.
func (s *session) stand(ctx context.Context) mirror.Status {
	return s.status(s.each(ctx, s.set.Names(), s.look))
}

// view is how a status is shown.
type view struct {
	*session
	out    io.Writer
	format func(io.Writer, mirror.Status) error
	// screen draws each over the one before, gap puts an empty line after it.
	screen, gap bool
}

// watch shows how all stand until it is interrupted, and ends with the last look's verdict.
func (v view) watch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var verdict error
	for {
		st := v.stand(ctx)
		if ctx.Err() != nil { // it was cut short, and says nothing
			return verdict
		}
		if v.screen {
			fmt.Fprint(v.out, clearScreen)
		}
		verdict = v.format(v.out, st)
		if v.gap {
			fmt.Fprintln(v.out)
		}
		select {
		case <-ctx.Done():
			return verdict
		case <-tick.C:
		}
		if v.reread(ctx); ctx.Err() != nil {
			return verdict
		}
	}
}

// verdict is the exit code that a status is worth.
func verdict(st mirror.Status) error {
	if st.Well() {
		return nil
	}
	return exitError{}
}

func (s *session) showJSON(out io.Writer, st mirror.Status) error {
	return encode(out, st, "  ")
}

// showLine is for a stream of documents, a line each.
func (s *session) showLine(out io.Writer, st mirror.Status) error {
	return encode(out, st, "")
}

func encode(out io.Writer, st mirror.Status, indent string) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(st); err != nil {
		return exitError{fmt.Errorf("writing the status: %w", err)}
	}
	return verdict(st)
}
