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

// shifts lists the replacements in Go's time.go. They shift all readings of the wall clock, as on a
// machine with a wrong clock. The monotonic clock, timers, and time differences aren't affected.
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

// ShiftedProgram builds fernetcast, statically linked, with a standard library whose wall clock
// ShiftedBy can shift. The first build takes a few minutes. ShiftedProgram returns an error if Go's
// time.go doesn't contain the code to replace.
func (g *Env) ShiftedProgram(ctx context.Context) (*Program, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = filepath.Dir(g.module)
	root, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("finding Go's source code: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return nil, fmt.Errorf("reading Go's clock: %w", err)
	}
	for _, s := range shifts {
		if n := strings.Count(string(text), s[0]); n != 1 {
			return nil, fmt.Errorf("patching Go's clock: %s contains %q %d times, want 1", original, s[0], n)
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

// ShiftedBy returns a ShiftedProgram whose clock is ahead by off, or behind if off is negative.
func (p *Program) ShiftedBy(off time.Duration) *Program {
	return p.WithEnv(shiftVariable + "=" + strconv.Itoa(int(off.Seconds())))
}
