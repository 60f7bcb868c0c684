package cli

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/apimachinery/pkg/util/duration"
)

// The columns that something else is done to.
const (
	titleRemote     = "REMOTE"
	titleState      = "STATE"
	titlePrimary    = "PRIMARY"
	titleBehind     = "BEHIND"
	titleLastPushed = "LAST PUSHED"
	titleDetail     = "DETAIL"
)

// column is one of a table; its first cell is the title.
type column struct {
	title string
	cells []string
	width int
}

func newColumn(remotes []mirror.RemoteStatus, title string, cell func(mirror.RemoteStatus) string) column {
	c := column{title: title, cells: []string{title}, width: columns(title)}
	for _, r := range remotes {
		text := cell(r)
		c.cells = append(c.cells, text)
		c.width = max(c.width, columns(text))
	}
	return c
}

// cell is what fits of a cell. Of a name the end is kept too, by which it may differ
// from others.
func (c column) cell(i int) string {
	text := c.cells[i]
	if end := c.width / 2; c.title == titleRemote && len(text) > c.width {
		return cut(text, c.width-end) + text[len(text)-end:]
	}
	return cut(text, c.width)
}

func usualColumns(remotes []mirror.RemoteStatus, src mirror.SourceStatus) []column {
	return []column{
		newColumn(remotes, titleRemote, func(r mirror.RemoteStatus) string { return remoteName(r, src) }),
		newColumn(remotes, titleState, func(r mirror.RemoteStatus) string { return string(r.State) }),
		newColumn(remotes, titlePrimary, primary),
		newColumn(remotes, titleBehind, behind),
		newColumn(remotes, titleLastPushed, func(r mirror.RemoteStatus) string { return ago(r.LastPushed) }),
		newColumn(remotes, titleDetail, detail),
	}
}

func wideColumns(remotes []mirror.RemoteStatus) []column {
	return []column{
		newColumn(remotes, titleRemote, func(r mirror.RemoteStatus) string { return r.Name }),
		newColumn(remotes, titleState, func(r mirror.RemoteStatus) string { return string(r.State) }),
		newColumn(remotes, "REASON", func(r mirror.RemoteStatus) string { return orNone(string(r.Reason)) }),
		newColumn(remotes, "NAMESPACE", func(r mirror.RemoteStatus) string { return orNone(r.Namespace) }),
		newColumn(remotes, "SERVER", func(r mirror.RemoteStatus) string { return orNone(r.Server) }),
		newColumn(remotes, titlePrimary, primary),
		newColumn(remotes, "KEYS", func(r mirror.RemoteStatus) string { return strconv.Itoa(len(r.Keys)) }),
		newColumn(remotes, titleBehind, behind),
		newColumn(remotes, titleLastPushed, func(r mirror.RemoteStatus) string { return ago(r.LastPushed) }),
		newColumn(remotes, "LAST SYNCED", func(r mirror.RemoteStatus) string { return ago(r.LastSynced) }),
		newColumn(remotes, "NEXT TRY", func(r mirror.RemoteStatus) string { return when(r.NextTry) }),
		newColumn(remotes, "EXPIRES", expires),
		newColumn(remotes, titleDetail, func(r mirror.RemoteStatus) string { return mirror.Printable(r.Detail) }),
	}
}

func total(list []column) int {
	n := -columnGap
	for _, c := range list {
		n += c.width + columnGap
	}
	return n
}

// narrowed makes the columns fit a width that they do not fit. It leaves out those
// that matter least while too little room is left for the detail, and then cuts the
// details, and the names where these have more than half of what is left.
func narrowed(list []column, width int) []column {
	for _, spare := range []struct {
		title  string
		detail int
	}{{titleLastPushed, 40}, {titlePrimary, 40}, {titleBehind, 12}} {
		name, detail := list[0].width, list[len(list)-1].width
		if total(list)-name-detail+min(name, width/2)+min(detail, spare.detail) > width {
			list = slices.DeleteFunc(list, func(c column) bool { return c.title == spare.title })
		}
	}
	name, detail := &list[0], &list[len(list)-1]
	rest := max(0, width-(total(list)-name.width-detail.width))
	name.width = min(name.width, max(rest/2, rest-detail.width))
	detail.width = rest - name.width
	return list
}

// remoteName is a remote's name, with its namespace where that is another than
// the source's: its kubeconfig says so.
func remoteName(r mirror.RemoteStatus, src mirror.SourceStatus) string {
	if r.Namespace == "" || r.Namespace == src.Namespace {
		return r.Name
	}
	return r.Name + " (namespace " + r.Namespace + ")"
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

// expiresSoon is how long before they expire the credentials are named.
const expiresSoon = 30 * 24 * time.Hour

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

// none stands where there is nothing to show, so that a row has a word in each column.
const none = "-"

func orNone(text string) string { return cmp.Or(text, none) }

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
