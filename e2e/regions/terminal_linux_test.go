package regions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"golang.org/x/sys/unix"
)

// terminal is the controlling side of a pseudoterminal, with the program that runs on it.
type terminal struct {
	*world
	master *os.File
	cmd    *exec.Cmd
	output *testenv.Output
	done   chan struct{}
}

// onTerminal starts a command on a terminal of the given size, as a shell does.
func (w *world) onTerminal(columns, rows uint16, env []string, args ...string) *terminal {
	w.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	w.Must(err)
	w.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	w.Must(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	w.Must(err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	w.Must(err)
	defer slave.Close()

	t := &terminal{world: w, master: master, output: &testenv.Output{}, done: make(chan struct{})}
	t.resize(columns, rows)
	t.cmd = exec.CommandContext(w.Ctx, w.Operator.Path, slices.Concat(w.Operator.Args, args)...)
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = slave, slave, slave
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	t.cmd.Env = slices.Concat(os.Environ(), w.Operator.Env, []string{"TERM=xterm", "NO_COLOR="}, env)
	w.Must(t.cmd.Start())
	go func() {
		defer close(t.done)
		_, _ = io.Copy(t.output, master) // fails when the program has exited
	}()
	w.Cleanup(func() { _ = t.cmd.Process.Kill(); <-t.done })
	return t
}

func (t *terminal) resize(columns, rows uint16) {
	t.Helper()
	t.Must(unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}))
}

// ends waits until the program exits, checks its exit code, and returns everything that it printed.
func (t *terminal) ends(code int) string {
	t.Helper()
	err := t.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || t.cmd.ProcessState.ExitCode() != code {
		t.Errorf("%v: exit %d, %v, want %d\n%s", t.cmd.Args, t.cmd.ProcessState.ExitCode(), err, code, t.output)
	}
	<-t.done
	return strings.ReplaceAll(t.output.String(), "\r\n", "\n")
}

// longest returns the length of the longest line, in characters.
func longest(text string) (n int) {
	for line := range strings.Lines(text) {
		n = max(n, len([]rune(strings.TrimSuffix(line, "\n"))))
	}
	return n
}

var sgr = regexp.MustCompile(`\x1b\[\d+m`)

// crowd adds n remotes with invalid kubeconfigs, in addition to dfw, which works.
func (w *world) crowd(n int) {
	w.Helper()
	w.keys()
	w.join("dfw")
	w.promote()
	for i := range n {
		w.Must(testenv.WriteFile(w.Clusters, fmt.Sprintf("refused-%02d.yaml", i), []byte("kind: Config")))
	}
}

// TestStatusOnATerminal checks that on a terminal, the output of status has colors and fits the
// width. If the terminal can't show colors or if they are turned off, the output has no colors. In
// a pipe, nothing is truncated.
func TestStatusOnATerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.crowd(1)
	w.Must(testenv.WriteFile(w.Clusters, "long.yaml", w.with("iad", "user", "a-field-"+strings.Repeat("x", 40), "is set")))
	piped := w.exits(1, "status")
	if longest(piped) < 200 || strings.Contains(piped, "…") || strings.Contains(piped, "\x1b") {
		t.Errorf("a pipe is treated as a terminal:\n%q", piped)
	}
	for _, c := range []struct {
		columns uint16
		env     string
		colors  bool
	}{{80, "", true}, {60, "", true}, {80, "NO_COLOR=1", false}, {80, "TERM=dumb", false}, {400, "", true}} {
		got := w.onTerminal(c.columns, 24, []string{c.env}, "status").ends(1)
		w.noLeaks(got)
		bare := sgr.ReplaceAllString(got, "")
		if n := longest(bare); n > int(c.columns) {
			t.Errorf("%d columns, %s: a line has %d columns:\n%s", c.columns, c.env, n, bare)
		}
		if whole := strings.Contains(bare, "client-key-data\n"); whole != (c.columns == 400) || whole == strings.Contains(bare, "…") {
			t.Errorf("%d columns: lines are not truncated exactly where necessary:\n%s\n%s", c.columns, bare, piped)
		}
		colored := strings.Contains(got, "\x1b[32mSynced\x1b[0m") && strings.Contains(got, "\x1b[31mMisconfigured\x1b[0m")
		if colored != c.colors || (got != bare) != c.colors {
			t.Errorf("%d columns, %s: colored is %v:\n%q", c.columns, c.env, colored, got)
		}
	}
	// If the terminal can't move the cursor, each table is appended to the output.
	dumb := w.onTerminal(80, 24, []string{"TERM=dumb"}, "status", "--watch")
	dumb.prints("REMOTE ", 2)
	dumb.interrupt()
	if got := dumb.ends(1); strings.Contains(got, "\x1b") {
		t.Errorf("a dumb terminal received %q", got)
	}
}

// prints waits until the text has been printed n times.
func (t *terminal) prints(text string, n int) {
	t.Helper()
	t.Until(func(context.Context) error {
		if printed := t.output.String(); strings.Count(printed, text) < n {
			return fmt.Errorf("the program did not print %q %d times:\n%s", text, n, printed)
		}
		return nil
	})
}

// interrupt presses Ctrl-C.
func (t *terminal) interrupt() {
	t.Helper()
	_, err := t.master.WriteString("\x03")
	t.Must(err)
}

// TestWatchOnATerminal checks that status --watch draws each table over the previous one and fits
// the screen's current number of rows. The cursor must end up below the last table.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	const home, below = "\x1b[H", "\x1b[J"
	w := newWorld(t)
	w.crowd(40)
	term := w.onTerminal(80, 12, nil, "status", "--watch")
	term.prints(below, 2)
	term.resize(80, 20)
	term.prints("… and 27 more", 1)
	term.interrupt()
	frames := strings.Split(term.ends(1), home)
	w.noLeaks(frames...)
	if strings.TrimLeft(frames[0], "\n") != "" || strings.Contains(strings.Join(frames, ""), "\x1b[2J") {
		t.Errorf("the screen is cleared, or the program printed something else: %q", frames[0])
	}
	if tail := frames[len(frames)-1]; !strings.HasSuffix(strings.TrimSuffix(tail, "^C"), "\n"+below) {
		t.Errorf("the cursor does not end up below the table: %q", tail)
	}
	for i, frame := range frames[1:] {
		lines := strings.Split(strings.TrimSuffix(sgr.ReplaceAllString(frame, ""), "^C"), "\n")
		rows := len(lines) - 1 // the last part only clears the rest of the screen
		if rows != 11 && (rows != 19 || i < 2) {
			t.Errorf("frame %d has %d rows:\n%q", i, rows, frame)
		}
		if first, last := lines[0], lines[rows-1]; !strings.HasPrefix(first, "MAIN ") || !strings.HasPrefix(last, "1 Synced, 40 Misconfigured") {
			t.Errorf("frame %d:\n%q", i, frame)
		}
	}
}
