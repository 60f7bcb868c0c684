package testenv

import "testing"

// lastLines are those of run's log that a test that failed shows.
const lastLines = 40

// StartRun starts `run` with the sidecar's rights, and returns it and where it listens
// (host:port). At the test's end it is killed, and no line of it may show a key.
func (s *Site) StartRun(t testing.TB, args ...string) (process *Process, address string) {
	t.Helper()
	address, err := s.Home.env.Address()
	if err != nil {
		t.Fatal(err)
	}
	if process, err = s.Runner.Start(append([]string{"run", "--listen", address}, args...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Kill()
		s.Home.env.Keys.NoLeaks(t, process.Stdout.String(), process.Stderr.String())
		if t.Failed() {
			t.Logf("the last of run's log:\n%s", process.Stderr.Tail(lastLines))
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
