package testenv

import (
	"path/filepath"
	"testing"
)

// lastLines is how many log lines of a process a failed test prints.
const lastLines = 40

// StartRun starts `run` with SidecarRole. It returns the process and the address (host:port) that
// it listens on. At the end of the test, StartRun kills the process and checks that its output
// contains no keys.
func (s *Site) StartRun(t testing.TB, args ...string) (process *Process, address string) {
	t.Helper()
	return s.start(t, append([]string{"run"}, args...))
}

// StartFiles is like StartRun for `files`, with a temporary directory.
func (s *Site) StartFiles(t testing.TB) (process *Process, address string) {
	t.Helper()
	return s.start(t, []string{"files", filepath.Join(t.TempDir(), "fernet-keys")})
}

func (s *Site) start(t testing.TB, command []string) (process *Process, address string) {
	t.Helper()
	address, err := s.Home.env.Address()
	if err != nil {
		t.Fatal(err)
	}
	if process, err = s.Runner.Start(append(command, "--listen", address)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Kill()
		s.Home.env.Keys.NoLeaks(t, process.Stdout.String(), process.Stderr.String())
		if t.Failed() {
			t.Logf("the last log lines of `fernetcast %s`:\n%s", command[0], process.Stderr.Tail(lastLines))
		}
	})
	return process, address
}

// NoLeaks reports an error for each key found in outputs.
func (k *Keys) NoLeaks(t testing.TB, outputs ...string) {
	t.Helper()
	for _, leak := range k.Leaks(outputs...) {
		t.Errorf("the output contains a key: %v", leak)
	}
}
