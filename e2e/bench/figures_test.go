package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// figuresPage is the page that has a table for each measurement, under a heading.
const figuresPage = "../../docs/figures.md"

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// markdown returns a table whose first row is the header.
func markdown(rows [][]string) string {
	var out strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&out, "|%s\n", strings.Repeat(" --- |", len(row)))
		}
	}
	return out.String()
}

// show logs a table.
func show(t *testing.T, heading string, rows [][]string) {
	t.Helper()
	t.Log(heading + "\n" + markdown(rows))
}

// publish logs a table and writes it to [figuresPage].
func publish(t *testing.T, heading string, rows [][]string) {
	t.Helper()
	show(t, heading, rows)
	page, err := os.ReadFile(figuresPage)
	if err != nil {
		t.Fatal(err)
	}
	measured := fmt.Sprintf("Measured on %s with %d CPUs and %s.\n\n", time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	text, err := replaceSection(string(page), heading, measured+markdown(rows))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(figuresPage, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replaceSection replaces everything between a level-2 heading and the next one.
func replaceSection(page, heading, body string) (string, error) {
	before, rest, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		return "", fmt.Errorf("%s has no heading %q", figuresPage, heading)
	}
	page = before + "\n## " + heading + "\n\n" + body
	if _, after, found := strings.Cut(rest, "\n## "); found {
		page += "\n## " + after
	}
	return page, nil
}

func TestReplaceSection(t *testing.T) {
	const page = "# Figures\n\n## A\n\nold\n\n## B\n\nold\n"
	for _, c := range []struct{ heading, want string }{
		{"A", "# Figures\n\n## A\n\nnew\n\n## B\n\nold\n"},
		{"B", "# Figures\n\n## A\n\nold\n\n## B\n\nnew\n"},
		{"C", ""},
	} {
		got, err := replaceSection(page, c.heading, "new\n")
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v, want %q", c.heading, got, err, c.want)
		}
	}
}
