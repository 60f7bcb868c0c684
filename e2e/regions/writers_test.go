package regions

import (
	"context"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
)

// newSynced returns a world whose remotes all have the main region's keys. start starts run, which
// has pushed these keys.
func newSynced(t *testing.T, start func(*world) *replica) (*world, *replica, testenv.Repository) {
	t.Helper()
	w := newWorld(t)
	keys := w.keys()
	w.promote() // promote before join, because promote would push to joined remotes, and run must push
	w.join(remotes...)
	run := start(w)
	w.equal(testenv.Soon, keys, remotes...)
	run.allShow("Synced", "", remotes...)
	return w, run, keys
}

// runShipped starts the release build, which timed tests need.
func (w *world) runShipped(args ...string) *replica {
	w.Helper()
	built := w.Shipped()
	return w.runProgram(built.With(w.Runner.Args...), args...)
}

// arrived waits for a version that has exactly these keys, and returns when it was written.
func (w *world) arrived(h *history, keys testenv.Repository) time.Time {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Ctx, testenv.Soon)
	defer cancel()
	v, err := h.Await(ctx, func(v testenv.Version) bool { return !v.Deleted && keys.Equal(v.Keys()) })
	w.Must(err)
	return v.Seen
}

// edit changes a cluster's Secret, with the field manager writer.
func (w *world) edit(c *testenv.Cluster, writer string, change func(*corev1.Secret)) {
	w.Helper()
	w.Must(c.Edit(w.Ctx, w.NS, writer, change))
}
