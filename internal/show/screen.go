package show

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// The control sequences that are sent: nothing else that a terminal obeys is
// printed, because all texts are Printable.
const (
	red, yellow, green = "\x1b[31m", "\x1b[33m", "\x1b[32m"
	plain              = "\x1b[0m"
	home               = "\x1b[H"
	clearToEnd         = "\x1b[K"
	clearBelow         = "\x1b[J"
)

// leftOut stands where a text was cut.
const leftOut = "…"

// Screen is where a person reads. The zero screen is no terminal: it bounds
// nothing, and has no colours.
type Screen struct {
	width, height int // in characters; 0: not bounded
	Colored       bool
	Redraws       bool // the cursor can be moved
}

// ScreenOf says what an output is, at this moment: a terminal's size changes.
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

func IsTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// paint colours a text; colour "" does not.
func (s Screen) paint(text, colour string) string {
	if !s.Colored || colour == "" || text == "" {
		return text
	}
	return colour + text + plain
}

// frame is what draws lines over those of the frame before, without a moment in
// which the screen is empty. The first frame scrolls away what is on the screen, so
// that it is not lost.
func (s Screen) frame(lines []string, first bool) string {
	var text strings.Builder
	if first {
		text.WriteString(strings.Repeat("\n", s.height))
	}
	text.WriteString(home)
	for _, line := range lines {
		text.WriteString(line)
		// At the right edge the cursor stands on the last character, which this
		// would clear.
		if n := columns(line); n == 0 || n%s.width != 0 {
			text.WriteString(clearToEnd)
		}
		text.WriteString("\n")
	}
	return text.String() + clearBelow
}

// rowsOf is how many rows of the screen lines take.
func (s Screen) rowsOf(lines ...string) (n int) {
	for _, line := range lines {
		n += max(1, (columns(line)+s.width-1)/max(1, s.width))
	}
	return n
}

// columns is how many columns of a terminal a text takes at most, without its colours.
func columns(text string) (n int) {
	for _, r := range uncoloured.Replace(text) {
		n += columnsOf(r)
	}
	return n
}

var uncoloured = strings.NewReplacer(red, "", yellow, "", green, "", plain, "")

// columnsOf takes each character beyond ASCII for a wide one: texts that a remote
// made end a line, so too much costs nothing there.
func columnsOf(r rune) int {
	if r < utf8.RuneSelf || string(r) == leftOut {
		return 1
	}
	return 2
}

// cut is a row's text without colors, as much as fits the width.
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

// indent begins each line but the first of what is folded.
const indent = "        "

// fold joins parts to lines that fit the width.
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
