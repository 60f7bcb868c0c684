package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// indent is below the source's state.
const indent = "        "

// source is the source in one line, where the width has room for it, and the detail
// in another. The terminal may wrap that one, so that a command in it can be copied.
func (t table) source(s mirror.SourceStatus) []string {
	lines := t.fold(headline(s), "  ")
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

func headline(s mirror.SourceStatus) []string {
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
	return parts
}

// summary is how many remotes are in which state, in one line where the width has
// room for it, after one on credentials where there is something to say of them.
func (t table) summary(remotes []mirror.RemoteStatus) (lines []string) {
	var parts []string
	var past, soon int
	for _, r := range remotes {
		switch {
		case expired(r):
			past++
		case expiring(r) != "":
			soon++
		}
	}
	if past > 0 {
		parts = append(parts, fmt.Sprintf("%d expired", past))
	}
	if soon > 0 {
		parts = append(parts, fmt.Sprintf("%d expiring within 30 days", soon))
	}
	if parts != nil {
		parts[0] = "credentials: " + parts[0]
		lines = t.fold(parts, ", ")
	}
	return append(lines, t.fold(t.counts(remotes), ", ")...)
}

// counts are how many remotes are in which state, those that are well first.
func (t table) counts(remotes []mirror.RemoteStatus) (parts []string) {
	count := map[mirror.State]int{}
	for _, r := range remotes {
		count[r.State]++
	}
	order := []string{green, yellow, red}
	for _, state := range slices.SortedFunc(maps.Keys(count), func(a, b mirror.State) int {
		return cmp.Or(cmp.Compare(slices.Index(order, colourOf(a)), slices.Index(order, colourOf(b))), cmp.Compare(a, b))
	}) {
		parts = append(parts, t.paint(fmt.Sprintf("%d %s", count[state], state), colourOf(state)))
	}
	return parts
}

// hint adds to the summary which flag shows more, where there is room.
func (t table) hint(summary []string, flag string) []string {
	const begin, end = "  (more: status ", ")"
	last := summary[len(summary)-1]
	line, hinted := strings.CutSuffix(last, end)
	if hinted {
		line += " " + flag + end
	} else {
		line += begin + flag + end
	}
	if columns(line) > t.width {
		return summary
	}
	return append(slices.Clone(summary[:len(summary)-1]), line)
}

// fold joins parts to lines that fit the width. All lines but the first are indented.
func (t table) fold(parts []string, separator string) []string {
	lines, end := []string{parts[0]}, strings.TrimRight(separator, " ")
	for _, part := range parts[1:] {
		line := &lines[len(lines)-1]
		if t.width == 0 || columns(*line+separator+part+end) <= t.width {
			*line += separator + part
			continue
		}
		*line += end
		lines = append(lines, indent+part)
	}
	return lines
}
