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

// eventsShown is how many of the last events stay on screen.
const eventsShown = 8

// screen shows the tables that `status --watch` prints, with what happens and
// the directions below. On a terminal it redraws, elsewhere it appends.
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

// say prints a line before there is a table, and after the last one.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drawn {
		s.drawn = false
		s.print("\n")
	}
	s.print(strings.TrimRight(fmt.Sprintf(format, args...), "\n") + "\n")
}

// tell gives the directions, to stay on screen.
func (s *screen) tell(directions []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.directions = directions
	s.draw(strings.Join(directions, "\n") + "\n\n")
}

// event is something that happened just now.
func (s *screen) event(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := time.Now().Format(time.TimeOnly) + "  " + fmt.Sprintf(format, args...)
	s.events = append(s.events, line)
	s.events = s.events[max(0, len(s.events)-eventsShown):]
	s.draw(line + "\n\n")
}

// end leaves what is on screen.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drawn {
		s.print("\n")
	}
	s.terminal = false
}

// draw shows everything anew on a terminal, and elsewhere only what is new.
// s.mu is held.
func (s *screen) draw(news string) {
	if !s.terminal {
		s.print(news)
		return
	}
	lines := strings.Split(s.table, "\n")
	lines = append(append(append(lines, s.events...), ""), s.directions...)
	// Home, each line over the old one, then clear the rest: it does not flicker.
	const home, clearLine, clearRest = "\x1b[H", "\x1b[K\n", "\x1b[J"
	if !s.drawn {
		s.print("\x1b[2J")
	}
	s.drawn = true
	s.print(home + strings.Join(lines, clearLine) + clearLine + clearRest)
}

// print is the demo's whole purpose: where nobody reads it any more, nothing is lost.
func (s *screen) print(text string) { _, _ = io.WriteString(s.out, text) }

// tables takes the output of `status --watch`: tables with an empty line after each.
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
