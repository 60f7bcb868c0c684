package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// eventsShown is how many of the latest events stay on the screen.
const eventsShown = 8

// screen shows the latest table of `status --watch`, with events and directions below it. On a
// terminal, it redraws the screen. Otherwise, it appends each new table or event to the output.
type screen struct {
	out      io.Writer
	terminal bool

	mu         sync.Mutex
	drawn      bool
	table      string
	events     []string
	directions []string
}

func newScreen(out *os.File) *screen {
	return &screen{out: out, terminal: term.IsTerminal(int(out.Fd()))}
}

// say prints a line before the first table or after the last one.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drawn {
		s.drawn = false
		s.print("\n")
	}
	s.print(strings.TrimRight(fmt.Sprintf(format, args...), "\n") + "\n")
}

// tell displays the directions below the table from now on.
func (s *screen) tell(directions []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.directions = directions
	s.draw(strings.Join(directions, "\n") + "\n\n")
}

// event displays an event together with the current time.
func (s *screen) event(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := time.Now().Format(time.TimeOnly) + "  " + fmt.Sprintf(format, args...)
	s.events = append(s.events, line)
	s.events = s.events[max(0, len(s.events)-eventsShown):]
	s.draw(line + "\n\n")
}

// end keeps the current screen and stops redrawing.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drawn {
		s.print("\n")
	}
	s.terminal = false
}

// draw redraws the screen on a terminal. Otherwise, it prints only news. The caller must hold s.mu.
func (s *screen) draw(news string) {
	if !s.terminal {
		s.print(news)
		return
	}
	lines := strings.Split(s.table, "\n")
	lines = append(append(append(lines, s.events...), ""), s.directions...)
	// Overwrite line by line and then clear the rest, to avoid flicker.
	const home, clearLine, clearRest = "\x1b[H", "\x1b[K\n", "\x1b[J"
	if !s.drawn {
		s.print("\x1b[2J")
	}
	s.drawn = true
	s.print(home + strings.Join(lines, clearLine) + clearLine + clearRest)
}

// print ignores errors: if the output can't be written, nobody sees the demo anyway.
func (s *screen) print(text string) { _, _ = io.WriteString(s.out, text) }

// tables returns a writer for the output of `status --watch`, in which an empty line follows each
// table.
func (s *screen) tables() io.Writer { return &tables{screen: s} }

type tables struct {
	screen  *screen
	pending bytes.Buffer
}

func (t *tables) Write(p []byte) (int, error) {
	t.pending.Write(p)
	for {
		table, _, whole := bytes.Cut(t.pending.Bytes(), []byte("\n\n"))
		if !whole {
			return len(p), nil
		}
		t.screen.mu.Lock()
		t.screen.table = string(table) + "\n"
		t.screen.draw(t.screen.table + "\n")
		t.screen.mu.Unlock()
		t.pending.Next(len(table) + len("\n\n"))
	}
}
