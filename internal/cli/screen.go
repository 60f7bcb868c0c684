package cli

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// What a terminal has that does not tell its size.
const (
	usualWidth  = 80
	usualHeight = 24
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

// screen is where a person reads. The zero screen is no terminal: it bounds
// nothing, and has no colours.
type screen struct {
	width, height int // in characters; 0: not bounded
	coloured      bool
	redraws       bool // the cursor can be moved
}

// screenOf says what an output is, at this moment: a terminal's size changes.
func screenOf(out any) screen {
	if !isTerminal(out) {
		return screen{}
	}
	dumb := os.Getenv("TERM") == "dumb"
	s := screen{coloured: !dumb && os.Getenv("NO_COLOR") == "", redraws: !dumb}
	s.width, s.height, _ = term.GetSize(int(out.(*os.File).Fd()))
	if s.width <= 0 || s.height <= 0 {
		s.width, s.height = usualWidth, usualHeight
	}
	return s
}

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// paint colours a text; colour "" does not.
func (s screen) paint(text, colour string) string {
	if !s.coloured || colour == "" || text == "" {
		return text
	}
	return colour + text + plain
}

// frame is what draws lines over those of the frame before, without a moment in
// which the screen is empty. The first frame scrolls away what is on the screen, so
// that it is not lost.
func (s screen) frame(lines []string, first bool) string {
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

// rowsOf is how many rows of the screen a line takes.
func (s screen) rowsOf(line string) int {
	if s.width == 0 {
		return 1
	}
	return max(1, (columns(line)+s.width-1)/s.width)
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

// cut is the begin of a text without colours, where it does not fit.
func cut(text string, width int) string {
	if columns(text) <= width {
		return text
	}
	if width <= 0 {
		return ""
	}
	n := 0
	for i, r := range text {
		if n += columnsOf(r); n >= width {
			return text[:i] + leftOut
		}
	}
	return text
}
