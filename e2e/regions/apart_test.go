package regions

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// apartMain and apartRemote are clusters with their own etcd, for tests that stop or restore one of
// them.
const (
	apartMain   = "syd"
	apartRemote = "hkg"
)

// apart starts both clusters the first time it is called.
var apart = sync.OnceValue(func() error {
	var started sync.WaitGroup
	errs := make([]error, 2)
	for i, name := range []string{apartMain, apartRemote} {
		started.Go(func() { _, errs[i] = shared.StartApart(context.Background(), name) })
	}
	started.Wait()
	return errors.Join(errs...)
})

// apartTurn is locked by a test while it may stop these clusters.
var apartTurn sync.Mutex

// newApart returns a world whose main region and first remote have their own etcd, and the names of
// the remotes. After a failed test, both clusters are restarted for later tests.
func newApart(t *testing.T) (*world, []string) {
	t.Helper()
	t.Parallel()
	apartTurn.Lock()
	t.Cleanup(apartTurn.Unlock)
	testenv.Must(t, apart())
	w := newMain(shared.Stage(t, "t", testTime, apartMain, apartRemote), apartMain)
	t.Cleanup(func() {
		for _, name := range []string{apartMain, apartRemote} {
			if t.Failed() {
				w.revive(shared.Cluster(name))
			}
		}
	})
	return w, []string{apartRemote, "dfw"}
}

// revive restarts a cluster's etcd and API server.
func (w *world) revive(c *testenv.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := c.Etcd.Restart(ctx); err != nil {
		w.Error(err)
	}
	if err := c.Restart(ctx); err != nil {
		w.Error(err)
	}
}

// back waits until a cluster serves its Secret again.
func (w *world) back(c *testenv.Cluster) {
	w.Helper()
	w.Until(func(ctx context.Context) error {
		_, err := c.Secret(ctx, w.NS)
		return err
	})
}
