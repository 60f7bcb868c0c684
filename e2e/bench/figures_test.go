package bench

import (
	"fmt"
	"strings"
	"time"
)

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// markdown is a table as docs/performance.md has it; the first row is its head.
func markdown(rows [][]string) string {
	var out strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&out, "\n| %s |", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&out, "\n|%s", strings.Repeat(" --- |", len(row)))
		}
	}
	return out.String()
}
