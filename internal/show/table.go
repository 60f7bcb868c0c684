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

// expiresSoon is how long before they expire the credentials are named.
const expiresSoon = 30 * 24 * time.Hour

// none stands where there is nothing to show, so that a row has a word in each column
// but the last.
const none, lastColumn = "-", "DETAIL"

// table shows a status to a person: the most urgent remotes first, each urgency by name.
type table struct {
	Screen
	wide       bool // all columns, and nothing is cut
	onlyUnwell bool // the others have no row; they are counted all the same
	fits       bool // it leaves out what the screen's height has no room for
}

// column is one of a table; wide says that -o wide alone has it.
type column struct {
	title string
	wide  bool
	cell  func(mirror.RemoteStatus) string
}

// columns returns the columns of a table. A wide table has the namespace in one of its own.
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
				return mirror.Printable(r.Detail)
			}
			return detail(r)
		}},
	}, func(c column) bool { return c.wide && !t.wide })
}

// shortened is a name of at most half of the width, so that the state beside it can be
// read. Its end stays, by which it may differ from others.
func (t table) shortened(name string) string {
	if room := t.width / 2; !t.wide && t.width > 0 && len(name) > room {
		return name[:room-room/2-1] + leftOut + name[len(name)-room/2:]
	}
	return name
}

func (t table) text(st mirror.Status) string { return strings.Join(t.lines(st), "\n") + "\n" }

// lines are the source, a row for each remote, and the sum of all. They fit the screen's
// width, except for the source's detail: the terminal wraps it, so that a command in it
// can be copied.
func (t table) lines(st mirror.Status) []string {
	top := t.source(st.Source)
	if len(st.Remotes) == 0 {
		return append(top, "no remotes")
	}
	rows, bottom := t.rows(st), t.summary(st.Remotes)
	if t.fits { // with a line for the cursor
		room := t.height - 1 - t.rowsOf(bottom...)
		for len(top) > 1 && t.rowsOf(top...) > room {
			top = top[:len(top)-1]
		}
		rows = t.fit(rows, room-t.rowsOf(top...))
	}
	return slices.Concat(top, rows, bottom)
}

// fit leaves out the last rows if there is no room for all, and says how many they are.
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

// rows are the titles and a row for each remote; none if there are no remotes.
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
	_ = w.Flush() // into memory
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	for i, line := range lines {
		if line = strings.TrimRight(line, " "); !t.wide {
			line = t.cut(line)
		}
		if lines[i] = line; i > 0 {
			state := string(remotes[i-1].State)
			lines[i] = strings.Replace(line, state, t.paint(state, colourOf(remotes[i-1].State)), 1)
		}
	}
	return lines
}

// urgency is higher where somebody has to look sooner.
func urgency(r mirror.RemoteStatus) int {
	switch colour := colourOf(r.State); {
	case colour == red:
		return 3
	case colour == yellow:
		return 2
	case expiring(r) != "":
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

// source is the source, in one line if it fits, and its detail in another.
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
			lines[i] = t.paint(line, red)
		}
	}
	if s.Detail != "" {
		lines = append(lines, indent+mirror.Printable(s.Detail))
	}
	return lines
}

// summary is how many remotes are in which state, after a line on credentials where
// there is something to say of them.
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
		lines = t.fold([]string{fmt.Sprintf("credentials: %d expired", past), fmt.Sprintf("%d expiring within 30 days", soon)}, ", ")
	}
	var parts []string
	for _, state := range slices.SortedFunc(maps.Keys(count), func(a, b mirror.State) int {
		return cmp.Or(cmp.Compare(urgency(mirror.RemoteStatus{State: a}), urgency(mirror.RemoteStatus{State: b})), cmp.Compare(a, b))
	}) {
		parts = append(parts, t.paint(fmt.Sprintf("%d %s", count[state], state), colourOf(state)))
	}
	return append(lines, t.fold(parts, ", ")...)
}

func primary(r mirror.RemoteStatus) string {
	if r.Primary == nil {
		return none
	}
	return strconv.Itoa(*r.Primary) + " " + r.Keys[*r.Primary]
}

// behind is the number of generations; "?" where the source's keys do not
// continue the remote's, and "-" where there are none to compare.
func behind(r mirror.RemoteStatus) string {
	switch {
	case r.Behind != nil:
		return strconv.Itoa(*r.Behind)
	case r.Primary != nil:
		return "?"
	}
	return none
}

// detail says first that credentials expire: that may be the cause of the rest.
func detail(r mirror.RemoteStatus) string {
	parts := []string{expiring(r), mirror.Printable(r.Detail)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// expiring says when a remote's credentials expire, where that is soon or past.
func expiring(r mirror.RemoteStatus) string {
	switch at := r.CredentialsExpire; {
	case at == nil || time.Until(*at) > expiresSoon:
		return ""
	case expired(r):
		return "credentials " + expires(r)
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

// when is a time that may be ahead.
func when(t *time.Time) string {
	switch {
	case t == nil:
		return none
	case time.Now().Before(*t):
		return "in " + duration.HumanDuration(time.Until(*t))
	}
	return ago(t) + " ago"
}
