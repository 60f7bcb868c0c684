package show

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// A terminal interprets the control sequences that a frame uses, and fails the test if there is any
// other.
type terminal struct {
	*testing.T
	width, height int
	screen        [][]rune
	row, column   int
	scrolled      []string
	emptied       bool // the screen was empty at some moment
}

func (t *terminal) Write(text string) {
	if t.screen == nil {
		t.screen = make([][]rune, t.height)
	}
	for text != "" {
		switch {
		case strings.HasPrefix(text, home):
			t.row, t.column = 0, 0
			text = text[len(home):]
		case strings.HasPrefix(text, clearToEnd):
			// After the last column is written, the cursor is still on that column.
			t.screen[t.row] = t.screen[t.row][:min(len(t.screen[t.row]), t.column, t.width-1)]
			text = text[len(clearToEnd):]
		case strings.HasPrefix(text, clearBelow):
			t.screen[t.row] = t.screen[t.row][:min(len(t.screen[t.row]), t.column)]
			clear(t.screen[t.row+1:])
			text = text[len(clearBelow):]
		case sgr.MatchString(text):
			text = text[len(sgr.FindString(text)):]
		default:
			r, size := utf8.DecodeRuneInString(text)
			t.put(r)
			text = text[size:]
		}
		t.emptied = t.emptied || strings.TrimSpace(t.String()) == ""
	}
}

var sgr = regexp.MustCompile(`^\x1b\[(0|3[123])m`)

func (t *terminal) put(r rune) {
	if r < ' ' && r != '\n' {
		t.Fatalf("unexpected control character %q", r)
	}
	if r == '\n' || t.column == t.width {
		t.column = 0
		if t.row++; t.row == t.height {
			t.row--
			t.scrolled = append(t.scrolled, string(t.screen[0]))
			t.screen = append(t.screen[1:], nil)
		}
		if r == '\n' {
			return
		}
	}
	line := t.screen[t.row]
	for len(line) <= t.column {
		line = append(line, ' ')
	}
	line[t.column] = r
	t.screen[t.row] = line
	t.column++
}

// String returns the content of the screen without trailing white space.
func (t *terminal) String() string {
	var lines []string
	for _, line := range t.screen {
		lines = append(lines, strings.TrimRight(string(line), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}
