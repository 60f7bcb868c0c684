package preflight

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/client-go/rest"
)

// A Report is the result of examining all remotes. It is the JSON document that check -o json
// prints.
type Report struct {
	// From is where the examination ran: a pod's name, or "this workstation".
	From    string     `json:"from"`
	Remotes []Examined `json:"remotes"`
}

const workstation = "this workstation"

// ExamineAll examines all remotes concurrently. The report lists them in the given order.
func ExamineAll(ctx context.Context, remotes []Remote) Report {
	report := Report{From: workstation, Remotes: make([]Examined, len(remotes))}
	if _, err := rest.InClusterConfig(); err == nil {
		name, _ := os.Hostname()
		report.From = "pod " + cmp.Or(name, "(unknown)")
	}
	var all sync.WaitGroup
	for i, remote := range remotes {
		all.Go(func() { report.Remotes[i] = Examine(ctx, remote) })
	}
	all.Wait()
	return report
}

// Failed reports whether any check failed.
func (r Report) Failed() bool {
	return slices.ContainsFunc(r.Remotes, func(e Examined) bool { return len(e.ids(Fail)) > 0 })
}

// Text returns the report for people. short means one line per remote. namespace is the source's. paint
// colors a result.
func (r Report) Text(short bool, namespace string, paint func(Result, string) string) string {
	out := &strings.Builder{}
	fmt.Fprintf(out, "Checking from %s.", r.From)
	if r.From == workstation {
		fmt.Fprintf(out, " To check from the main region's pods: %s exec deploy/keystone-api -c fernetcast -- fernetcast check", mirror.Kubectl("", namespace))
	}
	out.WriteString("\n")
	for _, e := range r.Remotes {
		if short {
			fmt.Fprintf(out, "%s  %s\n", e.Name, e.summary())
			continue
		}
		fmt.Fprintf(out, "\n%s  %s\n", e.Name, e.summary())
		for _, c := range e.Checks {
			next := ""
			if c.Next != "" {
				next = " → " + c.Next
			}
			fmt.Fprintf(out, "  %s  %-10s  %s%s\n", paint(c.Result, fmt.Sprintf("%-4s", c.Result)), c.ID, c.What, next)
			if c.Result == Fail || c.Result == Warn {
				fmt.Fprintf(out, "  %16s  see %s\n", "", c.Docs)
			}
		}
	}
	if len(r.Remotes) == 0 {
		out.WriteString("There are no remotes. To add one: fernetcast join NAME\n")
	}
	return out.String()
}

// ids returns the IDs of the checks with this result.
func (e Examined) ids(result Result) (ids []string) {
	for _, c := range e.Checks {
		if c.Result == result {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// summary returns the number and the names of the checks that failed or warned. If none did, it
// returns those of the skipped checks.
func (e Examined) summary() string {
	var parts []string
	for _, result := range []Result{Fail, Warn} {
		if ids := e.ids(result); len(ids) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s: %s", len(ids), result, strings.Join(ids, ", ")))
		}
	}
	if ids := e.ids(Skip); len(parts) == 0 && len(ids) > 0 {
		return fmt.Sprintf("no problems found; %d skipped: %s", len(ids), strings.Join(ids, ", "))
	}
	return cmp.Or(strings.Join(parts, "; "), "no problems found")
}
