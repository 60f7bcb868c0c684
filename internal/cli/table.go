package cli

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/apimachinery/pkg/util/duration"
)

const columnGap = 2

// printTable prints the table, and returns the verdict.
func printTable(out io.Writer, st mirror.Status) error {
	var text bytes.Buffer
	fmt.Fprintln(&text, headline(st.Source))
	if st.Source.Detail != "" {
		fmt.Fprintln(&text, "        "+mirror.Printable(st.Source.Detail))
	}
	w := tabwriter.NewWriter(&text, 0, 0, columnGap, ' ', 0)
	if len(st.Remotes) == 0 {
		fmt.Fprintln(w, "no remotes")
	} else {
		fmt.Fprintln(w, "REMOTE\tSTATE\tPRIMARY\tBEHIND\tLAST PUSHED\tDETAIL")
	}
	for _, r := range st.Remotes {
		fmt.Fprintln(w, strings.Join([]string{
			remoteName(r, st.Source), string(r.State), primary(r.Primary, r.Keys), behind(r), ago(r.LastPushed), mirror.Printable(r.Detail),
		}, "\t"))
	}
	w.Flush()
	if _, err := text.WriteTo(out); err != nil {
		return exitError{fmt.Errorf("writing the status: %w", err)}
	}
	return verdict(st)
}

// remoteName is a remote's name, with its namespace where that is another than
// the source's: its kubeconfig says so.
func remoteName(r mirror.RemoteStatus, src mirror.SourceStatus) string {
	if r.Namespace == "" || r.Namespace == src.Namespace {
		return r.Name
	}
	return r.Name + " (namespace " + r.Namespace + ")"
}

// headline is the source in one line.
func headline(s mirror.SourceStatus) string {
	parts := []string{fmt.Sprintf("%-6s", strings.ToUpper(string(s.State)))}
	if s.Term != nil {
		of := ""
		if s.State == mirror.SourceStandby {
			of = "copy of "
		}
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
	return strings.Join(parts, "  ")
}

func primary(n *int, keys keyset.Fingerprints) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n) + " " + keys[*n]
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
	return "-"
}

func ago(t *time.Time) string {
	if t == nil {
		return "-"
	}
	// The API server's clock may be ahead of ours.
	return duration.HumanDuration(max(0, time.Since(*t)))
}
