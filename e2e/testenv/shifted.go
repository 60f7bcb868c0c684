package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const shiftVariable = "GROUND_CLOCK_SHIFT"

// shifts are the changes to Go's own time.go, from what to what: all that is
// read of the wall clock is off. The monotonic clock, by which timers go, and
// the differences of two times are not, as on a machine whose clock is wrong.
var shifts = [][2]string{
	{"\t\"math/bits\"\n", "\t\"math/bits\"\n\t\"syscall\"\n"},
	{"func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n", "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec += clockShift\n"},
	{"func Now() Time {", `var clockShift = func() int64 {
	text, _ := syscall.Getenv("` + shiftVariable + `")
	seconds, _ := atoi(text)
	return int64(seconds)
}()

func Now() Time {`},
}

// ShiftedProgram builds it, static, on a standard library whose wall clock is
// off by as much as ShiftedBy says. The first time, that compiles all of it: some
// minutes. The error may be that Go's own time.go is not what we know any more.
func (g *Env) ShiftedProgram(ctx context.Context) (*Program, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = filepath.Dir(g.module)
	root, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("finding Go's own sources: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return nil, fmt.Errorf("reading Go's own clock: %w", err)
	}
	for _, s := range shifts {
		if n := strings.Count(string(text), s[0]); n != 1 {
			return nil, fmt.Errorf("shifting Go's own clock: %s has %q %d times, not once", original, s[0], n)
		}
		text = []byte(strings.Replace(string(text), s[0], s[1], 1))
	}
	shifted, overlay := g.path("shifted-time.go"), g.path("shifted-overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{original: shifted}})
	if err != nil {
		return nil, fmt.Errorf("encoding the overlay: %w", err)
	}
	for path, data := range map[string][]byte{shifted: text, overlay: list} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return nil, fmt.Errorf("writing the overlay: %w", err)
		}
	}
	return g.build(ctx, filepath.Dir(g.module), ".", "fernetcast-shifted", []string{"CGO_ENABLED=0"}, "-overlay="+overlay)
}

// ShiftedBy returns a ShiftedProgram whose clock is off by so many seconds,
// ahead or, below zero, behind.
func (p *Program) ShiftedBy(off time.Duration) *Program {
	return p.WithEnv(shiftVariable + "=" + strconv.Itoa(int(off.Seconds())))
}
