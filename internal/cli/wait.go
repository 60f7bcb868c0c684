package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
)

// clearLine moves the cursor to the start of the line and clears the line.
const clearLine = "\r\x1b[K"

func newWait(o *options) *cobra.Command {
	var timeout, settle time.Duration
	cmd := &cobra.Command{
		Use:   "wait [REMOTE...]",
		Short: "Wait until every remote has had the source's keys for a while",
		Long: `Blocks until all remotes, or those named, have had the source's keys for at least
--settle. This is the time in which the kubelet and other components copy the keys
to a region's Keystone. wait reads the remotes every 2s and changes nothing. The
record and the clock of each remote's API server show how long it has had the keys.

Run it before a rotation: exit code 0 means that these remotes are ready. At
--timeout, it prints the table and exits with code 1. It also waits while the
source is not the main region's, where a rotation must not run, and while there
are no remotes. --settle 0 requires only that the remotes have the keys.`,
		Example:           "  fernetcast wait dfw --settle 0 --timeout 5m",
		ValidArgsFunction: o.completeRemotes,
		RunE: func(cmd *cobra.Command, names []string) error {
			s, err := o.open(cmd)
			if err != nil {
				return err
			}
			if _, err := s.choose(names); err != nil {
				return err
			}
			w := &waiting{session: s, names: names, settle: settle, line: cmd.ErrOrStderr()}
			return w.run(cmd, timeout)
		},
	}
	periodVar(cmd.Flags(), &timeout, "timeout", 10*time.Minute, time.Millisecond, "maximum time to wait")
	periodVar(cmd.Flags(), &settle, "settle", 2*time.Minute, 0, "how long each remote must have had the keys")
	o.identityFlag(cmd)
	return cmd
}

// waiting is one run of wait. join uses it, too.
type waiting struct {
	*session
	names  []string // if empty, all remotes
	settle time.Duration
	// line shows which remotes lack the keys. On a terminal, the line is redrawn. Otherwise, it
	// is logged when the set of remotes changes.
	line  io.Writer
	whose string
	// The results of the last read.
	last    mirror.Status
	lacking []lack
}

// poll reads the remotes until none lacks the keys.
func (w *waiting) poll(ctx context.Context, timeout time.Duration) error {
	defer w.say(nil)
	return wait.PollUntilContextTimeout(ctx, watchEvery, timeout, true, func(context.Context) (bool, error) {
		if w.lacking != nil {
			w.reread(ctx)
		}
		names, err := w.choose(w.names)
		if err != nil {
			return false, err
		}
		now, lacks := w.compare(ctx, names)
		if ctx.Err() != nil { // the reads were interrupted
			return false, ctx.Err()
		}
		w.last, w.lacking = now, lacks
		w.say(lacks)
		return len(lacks) == 0, nil
	})
}

func (w *waiting) run(cmd *cobra.Command, timeout time.Duration) error {
	ctx := cmd.Context()
	err := w.poll(ctx, timeout)
	switch {
	case err == nil:
		n := len(w.last.Remotes)
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d of %d remotes have had the source's keys for at least %s\n", n, n, readable(w.settle))
		return err
	case ctx.Err() != nil && w.lacking == nil:
		return exitError{errors.New("interrupted")}
	case ctx.Err() != nil:
		return exitError{fmt.Errorf("interrupted while waiting for %s", text(w.lacking))}
	case errors.Is(err, context.DeadlineExceeded):
		_ = verdicts(cmd, show.Options{})(w.last) // prints the table; the exit code is 1 anyway
		return exitError{fmt.Errorf("timed out after %s waiting for %s", readable(timeout), text(w.lacking))}
	}
	return exitError{err}
}

// compare reads the named remotes, and returns the status and a list of everything that still lacks
// the keys.
func (w *waiting) compare(ctx context.Context, names []string) (mirror.Status, []lack) {
	outcomes := w.look(ctx, names)
	st := w.status(outcomes)
	if st.Source.Stale || st.Source.State != mirror.SourceMain {
		return st, []lack{{"the source", string(st.Source.State)}}
	}
	if len(names) == 0 { // without this check, a missing Secret would let every rotation pass
		return st, []lack{{"the remotes", "there are none"}}
	}
	var lacking []lack
	for _, name := range names {
		var now time.Time
		if remote, _ := w.set.Remote(name); remote != nil {
			now, _ = remote.Clock()
		}
		o := outcomes[name]
		if why := o.Copy.Unsettled(o.Decision.State, now, w.settle); why != "" {
			lacking = append(lacking, lack{name, why})
		}
	}
	return st, lacking
}

// A lack names something that wait waits for, and the reason.
type lack struct{ who, why string }

// say shows what wait waits for. It clears the line if lacking is empty.
func (w *waiting) say(lacking []lack) {
	if show.ScreenOf(w.line).Redraws {
		line := clearLine
		if len(lacking) > 0 {
			line += "waiting for " + text(lacking)
		}
		fmt.Fprint(w.line, line)
		return
	}
	var whose []string
	for _, l := range lacking {
		whose = append(whose, l.who)
	}
	if now := strings.Join(whose, ", "); now != w.whose && now != "" {
		w.whose = now
		w.log.Info("waiting", "for", text(lacking))
	}
}

// text lists the first few lacks, so that they fit in one line.
func text(lacking []lack) string {
	const few = 3
	var parts []string
	for _, l := range lacking[:min(few, len(lacking))] {
		parts = append(parts, fmt.Sprintf("%s (%s)", l.who, l.why))
	}
	if more := len(lacking) - few; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, ", ")
}
