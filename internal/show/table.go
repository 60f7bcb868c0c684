package show

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/apimachinery/pkg/util/duration"
)

// none fills empty cells, so that every row has text in each column. Only cells of lastColumn can
// be empty.
const none, lastColumn = "-", "DETAIL"

// table shows a status to a person. Remotes are sorted by urgency, then by name.
type table struct {
	Screen
	wide       bool // all columns, without truncation
	onlyUnwell bool // omit the rows of remotes that are well, but count them
	fits       bool // omit rows that don't fit the screen's height
}

// A column describes one column of a table. If wide is true, only -o wide shows it.
type column struct {
	title string
	wide  bool
	cell  func(mirror.RemoteStatus) string
}

// columns returns the columns of a table. In a wide table, the namespace has its own column.
func (t table) columns(src mirror.SourceStatus) []column {
	return slices.DeleteFunc([]column{
		{"REMOTE", false, func(r mirror.RemoteStatus) string {
			if t.wide || r.Namespace == "" || r.Namespace == src.Namespace {
				return t.shortened(r.Name)
			}
			return t.shortened(r.Name + " (namespace " + r.Namespace + ")")
		}},
		{"STATE", false, func(r mirror.RemoteStatus) string { return string(r.State) }},
		{"REASON", true, func(r mirror.RemoteStatus) string { return string(r.Reason) }},
		{"NAMESPACE", true, func(r mirror.RemoteStatus) string { return r.Namespace }},
		{"SERVER", true, func(r mirror.RemoteStatus) string { return r.Server }},
		{"PRIMARY", false, primary},
		{"KEYS", true, func(r mirror.RemoteStatus) string { return strconv.Itoa(len(r.Keys)) }},
		{"BEHIND", false, behind},
		{"LAST PUSHED", false, func(r mirror.RemoteStatus) string { return ago(r.LastPushed) }},
		{"LAST SYNCED", true, func(r mirror.RemoteStatus) string { return ago(r.LastSynced) }},
		{"NEXT TRY", true, func(r mirror.RemoteStatus) string { return when(r.NextTry) }},
		{"EXPIRES", true, expires},
		{lastColumn, false, func(r mirror.RemoteStatus) string {
			if t.wide {
				return mirror.Line(r.Detail)
			}
			return detail(r)
		}},
	}, func(c column) bool { return c.wide && !t.wide })
}

// shortened truncates a name to half of the screen's width, so that the state next to it stays
// visible. It keeps the end of the name, because names often differ only there.
func (t table) shortened(name string) string {
	if room := t.width / 2; !t.wide && t.width > 0 && len(name) > room {
		return name[:room-room/2-1] + leftOut + name[len(name)-room/2:]
	}
	return name
}

func (t table) text(st mirror.Status) string { return strings.Join(t.lines(st), "\n") + "\n" }

// lines returns the table's lines: the source, a row for each remote, and the summary. They fit the
// screen's width, except for the source's detail. The terminal wraps that, so that a command in it
// can be copied.
func (t table) lines(st mirror.Status) []string {
	top := t.source(st.Source)
	if len(st.Remotes) == 0 {
		text := "no remotes"
		if st.Source.State == mirror.SourceMain {
			text += ", so rotations are pushed nowhere; join the remotes, or restore the Secret with their kubeconfigs"
		}
		return append(top, text)
	}
	rows, bottom := t.rows(st), t.summary(st.Remotes)
	if t.fits { // reserve a line for the cursor
		room := t.height - 1 - t.rowsOf(bottom...)
		for len(top) > 1 && t.rowsOf(top...) > room {
			top = top[:len(top)-1]
		}
		rows = t.fit(rows, room-t.rowsOf(top...))
	}
	return slices.Concat(top, rows, bottom)
}

// fit omits the last rows if they don't all fit, and adds a line with the number of omitted rows.
func (t table) fit(rows []string, room int) []string {
	if t.rowsOf(rows...) <= room {
		return rows
	}
	if room < 1 {
		return nil
	}
	n := 0
	for t.rowsOf(rows[:n+1]...) < room {
		n++
	}
	return append(rows[:n:n], fmt.Sprintf("… and %d more", len(rows)-max(1, n)))
}

// rows returns the column titles and a row for each remote, or nil if there are no remotes.
func (t table) rows(st mirror.Status) []string {
	remotes := slices.Clone(st.Remotes)
	if t.onlyUnwell {
		remotes = unwell(remotes)
	}
	if len(remotes) == 0 {
		return nil
	}
	slices.SortStableFunc(remotes, func(a, b mirror.RemoteStatus) int { return cmp.Compare(urgency(b), urgency(a)) })
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	columns := t.columns(st.Source)
	row := func(cell func(column) string) {
		var cells []string
		for _, c := range columns {
			if text := cell(c); c.title == lastColumn {
				cells = append(cells, text)
			} else {
				cells = append(cells, cmp.Or(text, none))
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	row(func(c column) string { return c.title })
	for _, r := range remotes {
		row(func(c column) string { return c.cell(r) })
	}
	_ = w.Flush() // a buffer's writes can't fail
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	for i, line := range lines {
		if line = strings.TrimRight(line, " "); !t.wide {
			line = t.cut(line)
		}
		if lines[i] = line; i > 0 {
			state := string(remotes[i-1].State)
			lines[i] = strings.Replace(line, state, t.Paint(state, colorOf(remotes[i-1].State)), 1)
		}
	}
	return lines
}

// urgency ranks remotes: the higher the rank, the sooner someone must act.
func urgency(r mirror.RemoteStatus) int {
	switch color := colorOf(r.State); {
	case color == red:
		return 3
	case color == yellow:
		return 2
	case expiring(r) != "":
		return 1
	}
	return 0
}

// colorOf returns a state's color. Yellow states may resolve without intervention.
func colorOf(s mirror.State) string {
	switch {
	case s.Well():
		return green
	case s == mirror.StateBehind || s == mirror.StatePending:
		return yellow
	}
	return red
}

// source returns the line about the source, folded if it doesn't fit, and another line with the
// detail.
func (t table) source(s mirror.SourceStatus) []string {
	parts := []string{fmt.Sprintf("%-6s", strings.ToUpper(string(s.State)))}
	if s.Term != nil {
		of := map[bool]string{true: "copy of "}[s.State == mirror.SourceStandby]
		parts = append(parts, fmt.Sprintf("%s%s (term %d)", of, s.Region, *s.Term))
	}
	parts = append(parts, s.Namespace+"/"+s.Secret)
	if s.Primary != nil {
		parts = append(parts, fmt.Sprintf("primary %d (%s)", *s.Primary, s.Keys[*s.Primary]))
		if s.Staged {
			parts = append(parts, fmt.Sprintf("staged 0 (%s)", s.Keys.Staged()))
		}
		parts = append(parts, fmt.Sprintf("%d keys", len(s.Keys)))
	}
	if s.RotatedAt != nil {
		parts = append(parts, "rotated "+ago(s.RotatedAt)+" ago")
	}
	lines := t.fold(parts, "  ")
	if !s.Well() {
		for i, line := range lines {
			lines[i] = t.Paint(line, red)
		}
	}
	if s.Detail != "" {
		lines = append(lines, indent+mirror.Line(s.Detail))
	}
	return lines
}

// summary returns the number of remotes in each state, after a line about expiring credentials if
// there are any.
func (t table) summary(remotes []mirror.RemoteStatus) (lines []string) {
	count, past, soon := map[mirror.State]int{}, 0, 0
	for _, r := range remotes {
		count[r.State]++
		switch {
		case expired(r):
			past++
		case expiring(r) != "":
			soon++
		}
	}
	if past+soon > 0 {
		lines = t.fold([]string{fmt.Sprintf("credentials: %d expired", past), fmt.Sprintf("%d due for renewal", soon)}, ", ")
	}
	var parts []string
	for _, state := range slices.SortedFunc(maps.Keys(count), func(a, b mirror.State) int {
		return cmp.Or(cmp.Compare(urgency(mirror.RemoteStatus{State: a}), urgency(mirror.RemoteStatus{State: b})), cmp.Compare(a, b))
	}) {
		parts = append(parts, t.Paint(fmt.Sprintf("%d %s", count[state], state), colorOf(state)))
	}
	return append(lines, t.fold(parts, ", ")...)
}

func primary(r mirror.RemoteStatus) string {
	if r.Primary == nil {
		return none
	}
	return strconv.Itoa(*r.Primary) + " " + r.Keys[*r.Primary]
}

// behind returns how many generations the remote is behind. It returns "?" if the source's keys
// don't continue the remote's, and "-" if there is nothing to compare.
func behind(r mirror.RemoteStatus) string {
	switch {
	case r.Behind != nil:
		return strconv.Itoa(*r.Behind)
	case r.Primary != nil:
		return "?"
	}
	return none
}

// detail mentions expiring credentials first, because they may be the cause of the state.
func detail(r mirror.RemoteStatus) string {
	parts := []string{expiring(r), mirror.Line(r.Detail)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// expiring returns when a remote's credentials expire, or "" if they aren't due for renewal.
func expiring(r mirror.RemoteStatus) string {
	switch {
	case expired(r):
		return "credentials " + expires(r)
	case r.CredentialsDue == nil || time.Now().Before(*r.CredentialsDue):
		return ""
	default:
		return "credentials expire " + expires(r)
	}
}

func expires(r mirror.RemoteStatus) string {
	if expired(r) {
		return "expired " + when(r.CredentialsExpire)
	}
	return when(r.CredentialsExpire)
}

func expired(r mirror.RemoteStatus) bool {
	return r.CredentialsExpire != nil && !time.Now().Before(*r.CredentialsExpire)
}

func ago(t *time.Time) string {
	if t == nil {
		return none
	}
	// The API server's clock may be ahead of ours.
	return duration.HumanDuration(max(0, time.Since(*t)))
}

// when formats the time until t, or since t if t is in the past.
func when(t *time.Time) string {
	switch {
	case t == nil:
		return none
	case time.Now().Before(*t):
		return "in " + duration.HumanDuration(time.Until(*t))
	}
	return ago(t) + " ago"
}
