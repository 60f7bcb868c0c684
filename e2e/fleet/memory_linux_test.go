package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestMemoryLimit runs the program with 900 remotes and the memory limit of the manifests. With
// GOGC=100, the program would exceed the limit. It must collect garbage more often, so that the
// kernel doesn't kill it.
func TestMemoryLimit(t *testing.T) {
	const remotes, limit = 900, 128 << 20
	r := start(t, remotes, confined(t, shipped(t), limit))
	for range 3 {
		r.rotated()
	}
	if _, peak, err := r.Memory(); err != nil || peak < limit*3/4 {
		t.Errorf("peak memory was %d MiB (%v), so %d remotes don't reach the limit", peak>>20, err, remotes)
	}
}

// confined returns a program that runs in its own memory cgroup. Without a writable cgroup v1, confined
// only sets GOMEMLIMIT.
func confined(t *testing.T, program *testenv.Program, limit int) *testenv.Program {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	testenv.Must(t, err)
	for line := range strings.Lines(string(text)) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), ":memory:"); ok {
			group := filepath.Join("/sys/fs/cgroup/memory", path, fmt.Sprintf("fernetcast-%d", os.Getpid()))
			if err := os.Mkdir(group, 0o755); err != nil {
				t.Log("setting only GOMEMLIMIT:", err) // usually not root
				break
			}
			t.Cleanup(func() {
				testenv.Must(t, testenv.Until(context.Background(), testenv.Often, func(context.Context) error { return os.Remove(group) }))
			})
			testenv.Must(t, os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte(strconv.Itoa(limit)), 0o600))
			in := &testenv.Program{Path: "/bin/sh", Env: []string{"GOGC=100"}}
			return in.With("-ec", `echo $$ > "$0/cgroup.procs"; exec "$@"`, group, program.Path)
		}
	}
	return program.WithEnv("GOGC=100", fmt.Sprintf("GOMEMLIMIT=%d", limit/10*9))
}

// cost is the program's resource use with a fleet.
type cost struct {
	first, rotation time.Duration // CPU time of the first sync and of a rotation
	memory          int64         // peak memory, in bytes
}

// TestLongFleet checks that fernetcast uses no more memory than docs/install.md states, and that
// the CPU time and memory per remote don't grow with the number of remotes.
func TestLongFleet(t *testing.T) {
	testenv.Long(t)
	const few, many, mostGrowth, mostMemory, mostMemoryEach = 1500, 6000, 2.0, 64 << 20, 200 << 10
	costs := map[int]cost{}
	for _, n := range []int{few, many} {
		r := start(t, n, shipped(t))
		c := cost{first: r.cpu()}
		for range 3 {
			before := r.cpu()
			r.rotated()
			c.rotation += (r.cpu() - before) / 3
		}
		var err error
		_, c.memory, err = r.Memory()
		testenv.Must(t, err)
		if most := int64(mostMemory + mostMemoryEach*n); c.memory > most {
			t.Errorf("%d remotes: peak memory was %d MiB, want at most %d MiB", n, c.memory>>20, most>>20)
		}
		r.Kill()
		costs[n] = c
		t.Logf("%d remotes: first sync %v and a rotation %v of CPU time, %d MiB", n, c.first, c.rotation, c.memory>>20)
	}
	for name, of := range map[string]func(cost) float64{
		"first sync": func(c cost) float64 { return float64(c.first) },
		"rotation":   func(c cost) float64 { return float64(c.rotation) },
		"memory":     func(c cost) float64 { return float64(c.memory) },
	} {
		if x := of(costs[many]) / of(costs[few]) * few / many; x > mostGrowth {
			t.Errorf("%s: each of %d remotes costs %.2f times as much as each of %d, want at most %.2f", name, many, x, few, mostGrowth)
		}
	}
}
