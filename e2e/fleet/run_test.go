package fleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// syncTime limits a first sync or a rotation of any number of remotes.
const syncTime = 2 * time.Minute

// run is a running release build, with the fleet that it serves.
type run struct {
	*testing.T
	*testenv.Process
	*fleet
	address string
	remotes int
}

// shipped returns the release build.
func shipped(t *testing.T) *testenv.Program {
	t.Helper()
	program, err := shared.Program(context.Background())
	testenv.Must(t, err)
	return program
}

// start starts a program and waits for the first sync.
func start(t *testing.T, remotes int, program *testenv.Program) *run {
	t.Helper()
	f, dir := newFleet(t), t.TempDir()
	testenv.Must(t, os.Mkdir(filepath.Join(dir, "clusters"), 0o755))
	testenv.Must(t, testenv.WriteFile(dir, "source", f.kubeconfig(mainRegion)))
	for n := range remotes {
		name := fmt.Sprintf("r%04d", n)
		testenv.Must(t, testenv.WriteFile(filepath.Join(dir, "clusters"), name, f.kubeconfig(name)))
	}
	address, err := shared.Address()
	testenv.Must(t, err)
	r := &run{T: t, fleet: f, address: address, remotes: remotes}
	r.Process, err = program.Start("run", "--listen", r.address, "--namespace", mainRegion,
		"--kubeconfig", filepath.Join(dir, "source"), "--clusters", filepath.Join(dir, "clusters"))
	testenv.Must(t, err)
	t.Cleanup(func() {
		r.Kill()
		if t.Failed() {
			t.Logf("the last lines of the log:\n%s", r.Stderr.Tail(20))
		}
	})
	r.synced()
	return r
}

// rotated rotates, waits until all remotes have the new keys, and scrapes the metrics.
func (r *run) rotated() {
	r.Helper()
	r.rotate()
	r.synced()
	r.scrape()
}

func (r *run) scrape() {
	r.Helper()
	_, err := testenv.Get(context.Background(), "http://"+r.address+"/metrics")
	testenv.Must(r, err)
}

// synced waits until all remotes have the newest keys.
func (r *run) synced() {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), syncTime)
	defer cancel()
	testenv.Must(r, testenv.Until(ctx, testenv.Often, func(context.Context) error {
		if !r.Running() {
			r.Fatal("the program has ended")
		}
		if n := r.behind(r.remotes); n > 0 {
			return fmt.Errorf("%d remotes don't have the newest keys", n)
		}
		return nil
	}))
}

// cpu returns the CPU time used so far.
func (r *run) cpu() time.Duration {
	r.Helper()
	used, err := r.CPU()
	testenv.Must(r, err)
	return used
}
