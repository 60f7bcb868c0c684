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
			show := s.show
			switch {
			case output == "json" && watch:
				show = s.showLine
			case output == "json":
				show = s.showJSON
			}
			if watch {
				return s.watch(cmd.Context(), cmd.OutOrStdout(), show, output == "table")
			}
			return show(cmd.OutOrStdout(), s.stand(cmd.Context()))
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

// watch shows how all stand until it is interrupted, and ends with the last look's verdict.
func (s *session) watch(ctx context.Context, out io.Writer, show func(io.Writer, mirror.Status) error, redraw bool) error {
	redraw = redraw && isTerminal(out)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		st := s.stand(ctx)
		if redraw {
			fmt.Fprint(out, clearScreen)
		}
		verdict := show(out, st)
		if !redraw {
			fmt.Fprintln(out)
		}
		select {
		case <-ctx.Done():
			return verdict
		case <-tick.C:
		}
		if err := s.read(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintln(out, err)
		}
		if ctx.Err() != nil {
			return verdict
		}
	}
}

// verdict is the exit code that a status is worth.
func verdict(st mirror.Status) error {
	if st.Well() {
		return nil
	}
	return notWell{}
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
		return notWell{fmt.Errorf("writing the status: %w", err)}
	}
	return verdict(st)
}
