package regions

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// apartMain and apartRemote have an etcd of their own each, for what is done to one.
const (
	apartMain   = "syd"
	apartRemote = "hkg"
)

// apart starts the two, once for all tests.
var apart = sync.OnceValue(func() error {
	var started sync.WaitGroup
	errs := make([]error, 2)
	for i, name := range []string{apartMain, apartRemote} {
		started.Go(func() { _, errs[i] = shared.StartApart(context.Background(), name) })
	}
	started.Wait()
	return errors.Join(errs...)
})

// apartTurn is held by the test that may take the two down.
var apartTurn sync.Mutex

// newApart is a world whose main has an etcd of its own, as one of the remotes
// has that come with it. A test that fails leaves both running for those after it.
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

// revive starts all of a cluster anew.
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

// back waits until a cluster serves what it has.
func (w *world) back(c *testenv.Cluster) {
	w.Helper()
	w.Until(func(ctx context.Context) error {
		_, err := c.Secret(ctx, w.NS)
		return err
	})
}
