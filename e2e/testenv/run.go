package testenv

import (
	"path/filepath"
	"testing"
)

// lastLines are those of a log that a test that failed shows.
const lastLines = 40

// StartRun starts `run` with the sidecar's rights, and returns it and where it listens
// (host:port). At the test's end it is killed, and no line of it may show a key.
func (s *Site) StartRun(t testing.TB, args ...string) (process *Process, address string) {
	t.Helper()
	return s.start(t, append([]string{"run"}, args...))
}

// StartFiles starts `files` on a directory of the test's, as StartRun does `run`.
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
			t.Logf("the last of the log of `fernetcast %s`:\n%s", command[0], process.Stderr.Tail(lastLines))
		}
	})
	return process, address
}

// NoLeaks fails the test for each key that outputs show.
func (k *Keys) NoLeaks(t testing.TB, outputs ...string) {
	t.Helper()
	for _, leak := range k.Leaks(outputs...) {
		t.Errorf("a key is shown: %v", leak)
	}
}
