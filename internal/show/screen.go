package show

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// No other control sequences are printed. Text from servers can't add any, because it passes
// through mirror.Printable.
const (
	red, yellow, green = "\x1b[31m", "\x1b[33m", "\x1b[32m"
	plain              = "\x1b[0m"
	home               = "\x1b[H"
	clearToEnd         = "\x1b[K"
	clearBelow         = "\x1b[J"
)

// The colors for [Screen.Paint].
const Red, Yellow, Green = red, yellow, green

// leftOut marks truncated text.
const leftOut = "…"

// A Screen describes the terminal or other output that a table is written to. The zero Screen isn't
// a terminal: its size is unlimited, and it has no colors.
type Screen struct {
	width, height int // in characters; 0 means unlimited
	Colored       bool
	Redraws       bool // the terminal supports cursor movement
}

// ScreenOf returns the current properties of out. Call it again for each frame, because a terminal
// can be resized.
func ScreenOf(out any) Screen {
	if !IsTerminal(out) {
		return Screen{}
	}
	dumb := os.Getenv("TERM") == "dumb"
	s := Screen{Colored: !dumb && os.Getenv("NO_COLOR") == "", Redraws: !dumb}
	s.width, s.height, _ = term.GetSize(int(out.(*os.File).Fd()))
	if s.width <= 0 || s.height <= 0 {
		s.width, s.height = 80, 24
	}
	return s
}

// IsTerminal reports whether stream is a terminal.
func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Paint adds a color to text, unless the color is "" or the screen has no colors.
func (s Screen) Paint(text, color string) string {
	if !s.Colored || color == "" || text == "" {
		return text
	}
	return color + text + plain
}

// frame returns the text that draws lines over the previous frame. Clearing the screen first would
// make it flicker, so frame clears the rest of each line instead. The first frame scrolls the
// current content into the scrollback buffer, so that nothing is lost.
func (s Screen) frame(lines []string, first bool) string {
	var text strings.Builder
	if first {
		text.WriteString(strings.Repeat("\n", s.height))
	}
	text.WriteString(home)
	for _, line := range lines {
		text.WriteString(line)
		// After a full row, the cursor is still on the last character, so clearing the rest of the
		// line would delete that character.
		if n := columns(line); n == 0 || n%s.width != 0 {
			text.WriteString(clearToEnd)
		}
		text.WriteString("\n")
	}
	return text.String() + clearBelow
}

// rowsOf returns the number of screen rows that lines take.
func (s Screen) rowsOf(lines ...string) (n int) {
	for _, line := range lines {
		n += max(1, (columns(line)+s.width-1)/max(1, s.width))
	}
	return n
}

// columns returns an upper bound for the number of terminal columns that text takes. Color
// sequences take none.
func columns(text string) (n int) {
	for _, r := range uncolored.Replace(text) {
		n += columnsOf(r)
	}
	return n
}

var uncolored = strings.NewReplacer(red, "", yellow, "", green, "", plain, "")

// columnsOf counts every non-ASCII character as two columns. Such characters occur only in text
// from servers, at the end of a line, so an overestimate is harmless.
func columnsOf(r rune) int {
	if r < utf8.RuneSelf || string(r) == leftOut {
		return 1
	}
	return 2
}

// cut truncates text to the width of the screen. The text must not contain colors.
func (s Screen) cut(text string) string {
	if s.width == 0 || columns(text) <= s.width {
		return text
	}
	n := 0
	for i, r := range text {
		if n += columnsOf(r); n >= s.width {
			return text[:i] + leftOut
		}
	}
	return text
}

// indent starts each line of folded text except the first.
const indent = "        "

// fold joins parts and breaks lines at separators to fit the width.
func (s Screen) fold(parts []string, separator string) []string {
	lines, end := []string{parts[0]}, strings.TrimRight(separator, " ")
	for _, part := range parts[1:] {
		line := &lines[len(lines)-1]
		if s.width == 0 || columns(*line+separator+part+end) <= s.width {
			*line += separator + part
			continue
		}
		*line += end
		lines = append(lines, indent+part)
	}
	return lines
}
