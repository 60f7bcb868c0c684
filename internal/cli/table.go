package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

const columnGap = 2

// table shows a status to a person: the most urgent remotes first, each urgency by name.
type table struct {
	screen
	wide       bool // all columns, and nothing is cut
	onlyUnwell bool // the others have no row; they are counted all the same
	fits       bool // it leaves out what the screen's height has no room for
}

// printTable prints the table as commands do that have no flags for it, and
// returns the verdict.
func printTable(out io.Writer, st mirror.Status) error {
	return printed(out, table{screen: screenOf(out)}.text(st), st)
}

// printed writes a text at once, and returns the verdict.
func printed(out io.Writer, text string, st mirror.Status) error {
	if _, err := io.WriteString(out, text); err != nil {
		return exitError{fmt.Errorf("writing the status: %w", err)}
	}
	return verdict(st)
}

func (t table) text(st mirror.Status) string { return strings.Join(t.lines(st), "\n") + "\n" }

// lines are the source, a row for each remote, and the sum of all.
func (t table) lines(st mirror.Status) []string {
	top := t.source(st.Source)
	if len(st.Remotes) == 0 {
		return append(top, "no remotes")
	}
	remotes := t.sorted(st.Remotes)
	rows, shortened := t.rows(remotes, st.Source)
	bottom := t.summary(st.Remotes)
	if t.fits { // with a line for the cursor
		room := t.height - 1 - t.taken(bottom)
		rows = t.fit(rows, remotes, room-t.taken(top))
		for len(top) > 1 && t.taken(top) > room {
			top = top[:len(top)-1]
		}
	} else if t.height > 0 && !t.onlyUnwell && !remotes[0].State.Well() && len(rows) >= t.height {
		bottom = t.hint(bottom, "--only-unwell")
	}
	if shortened {
		bottom = t.hint(bottom, "-o wide")
	}
	return slices.Concat(top, rows, bottom)
}

// sorted are the remotes that have a row, in its order.
func (t table) sorted(all []mirror.RemoteStatus) []mirror.RemoteStatus {
	remotes := slices.Clone(all)
	if t.onlyUnwell {
		remotes = unwell(all)
	}
	slices.SortStableFunc(remotes, func(a, b mirror.RemoteStatus) int { return cmp.Compare(urgency(b), urgency(a)) })
	return remotes
}

// urgency is higher where somebody has to look sooner.
func urgency(r mirror.RemoteStatus) int {
	switch colourOf(r.State) {
	case red:
		return 3
	case yellow:
		return 2
	}
	if expiring(r) != "" {
		return 1
	}
	return 0
}

// colourOf is yellow where time alone may help.
func colourOf(s mirror.State) string {
	switch {
	case s.Well():
		return green
	case s == mirror.StateBehind || s == mirror.StatePending:
		return yellow
	}
	return red
}

// rows are the titles and a row for each remote, and whether less is shown than
// there is to show; no rows where there are no remotes.
func (t table) rows(remotes []mirror.RemoteStatus, src mirror.SourceStatus) (rows []string, shortened bool) {
	if len(remotes) == 0 {
		return nil, false
	}
	list := usualColumns(remotes, src)
	if t.wide {
		list = wideColumns(remotes)
	} else if t.width > 0 && total(list) > t.width {
		list, shortened = narrowed(list, t.width), true
	}
	for i := range len(remotes) + 1 {
		colour := ""
		if i > 0 {
			colour = colourOf(remotes[i-1].State)
		}
		rows = append(rows, t.row(list, i, colour))
	}
	return rows, shortened
}

// row is the cells of one row, of which the state is coloured.
func (t table) row(list []column, i int, colour string) string {
	var line strings.Builder
	pad := 0
	for _, c := range list {
		cell := c.cell(i)
		line.WriteString(strings.Repeat(" ", pad))
		pad = c.width - columns(cell) + columnGap
		if c.title == titleState {
			cell = t.paint(cell, colour)
		}
		line.WriteString(cell)
	}
	return strings.TrimRight(line.String(), " ")
}

// fit leaves out the last rows where there is no room for all, and says what they are.
func (t table) fit(rows []string, remotes []mirror.RemoteStatus, room int) []string {
	if t.taken(rows) <= room {
		return rows
	}
	if room < 1 {
		return nil
	}
	n := 0
	for taken := t.rowsOf(rows[0]); taken < room; taken += t.rowsOf(rows[n]) {
		n++
	}
	left := remotes[max(0, n-1):]
	states := t.counts(left)
	what := fmt.Sprintf("… and %d more: %s", len(left), strings.Join(states, ", "))
	if len(states) == 1 {
		what = fmt.Sprintf("… and %d more, all %s", len(left), left[0].State)
	}
	return append(rows[:n:n], what)
}

// taken is how many rows of the screen the lines take.
func (t table) taken(lines []string) (n int) {
	for _, line := range lines {
		n += t.rowsOf(line)
	}
	return n
}
