package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"
)

// watchEvery is how often status --watch and wait look.
const watchEvery = 2 * time.Second

func newStatus(o *options) *cobra.Command {
	var output string
	var watch, onlyUnwell bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Read the source and every remote, and compare",
		Long: `Reads the source and every remote live and compares them, whether or not run is
up. It changes nothing.

The table has those first that are not well, and sums up all in its last line.
BEHIND is how many rotations a remote is behind: at 1 the next rotation breaks
the main's new tokens there, at 2 they are broken; "?" where the source's keys do
not continue the remote's. Credentials are named where they expire within 30 days.

On a terminal the states are coloured, unless NO_COLOR is set or TERM is dumb, and
what does not fit the width is left out or cut with "…": -o wide has it all. Into a
pipe nothing is cut. The exit code and the last line count all remotes, also with
--only-unwell.`,
		Example:           "  fernetcast status\n  fernetcast status -o wide --only-unwell",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			show, known := map[string]func(mirror.Status) error{
				"table": showTable(out, table{onlyUnwell: onlyUnwell}, watch),
				"wide":  showTable(out, table{onlyUnwell: onlyUnwell, wide: true}, watch),
				"json":  showDocument(out, jsonText(watch), onlyUnwell),
				"yaml":  showDocument(out, yamlText(watch), onlyUnwell),
			}[output]
			if !known {
				return fmt.Errorf("--output %q: it has to be table, wide, json or yaml", output)
			}
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			if watch {
				return s.watch(cmd.Context(), show)
			}
			return show(s.status(s.look(cmd.Context(), s.set.Names())))
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, wide, json or yaml")
	cmd.Flags().BoolVar(&onlyUnwell, "only-unwell", false, "show only the remotes that are not well")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again every 2 s: redraw on a terminal, append elsewhere")
	o.identityFlag(cmd)
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

// unwell are the remotes that are not well.
func unwell(remotes []mirror.RemoteStatus) []mirror.RemoteStatus {
	return slices.DeleteFunc(slices.Clone(remotes), func(r mirror.RemoteStatus) bool { return r.State.Well() })
}

// showTable returns what prints one table, or with watch one of many: over the one
// before where the cursor can be moved, else with an empty line after each.
func showTable(out io.Writer, t table, watch bool) func(mirror.Status) error {
	first := true
	return func(st mirror.Status) error {
		t.screen = screenOf(out) // its size may be another than before
		if t.fits = watch && t.redraws; t.fits {
			text := t.frame(t.lines(st), first)
			first = false
			return printed(out, text, st)
		}
		text := t.text(st)
		if watch {
			text += "\n"
		}
		return printed(out, text, st)
	}
}

// showDocument returns what prints the document; onlyUnwell leaves the remotes out
// that are well.
func showDocument(out io.Writer, encode func(mirror.Status) ([]byte, error), onlyUnwell bool) func(mirror.Status) error {
	return func(st mirror.Status) error {
		if onlyUnwell {
			st.Remotes = unwell(st.Remotes)
		}
		text, err := encode(st)
		if err != nil {
			return exitError{fmt.Errorf("encoding the status: %w", err)}
		}
		return printed(out, string(text), st)
	}
}

// jsonText encodes a document, in one line where it is one of a stream.
func jsonText(stream bool) func(mirror.Status) ([]byte, error) {
	return func(st mirror.Status) ([]byte, error) {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		if !stream {
			encoder.SetIndent("", "  ")
		}
		err := encoder.Encode(st)
		return text.Bytes(), err
	}
}

// yamlText encodes a document, with a line that begins it where it is one of a stream.
func yamlText(stream bool) func(mirror.Status) ([]byte, error) {
	return func(st mirror.Status) ([]byte, error) {
		text, err := yaml.Marshal(st)
		if stream {
			text = append([]byte("---\n"), text...)
		}
		return text, err
	}
}
