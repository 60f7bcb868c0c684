package regions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
)

const rival = "argocd-controller"

// TestDrift checks that fernetcast notices every change to a remote's Secret by the watch alone,
// and repairs it.
func TestDrift(t *testing.T) {
	t.Parallel()
	for _, drift := range []struct {
		name string
		// change edits the Secret. If change is nil, the Secret is deleted.
		change func(*corev1.Secret)
		// made is the key set of the recreated Secret, or nil if the Secret isn't recreated.
		made testenv.Repository
	}{
		{"key edited", func(s *corev1.Secret) { s.Data["8"] = []byte(shared.Keys.New()) }, nil},
		{"rotated by its own CronJob", func(s *corev1.Secret) { s.Data = shared.Keys.Rotated(s.Data, 7) }, nil},
		{"stamp removed", func(s *corev1.Secret) { s.Annotations = nil }, nil},
		{"part of the stamp lost", func(s *corev1.Secret) { delete(s.Annotations, "fernetcast/keys") }, nil},
		{"deleted", nil, nil},
		{"recreated and set up", nil, shared.Keys.NewRepository(1, 2)},
	} {
		t.Run(drift.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			keys := w.keys()
			w.promote()
			w.join("dfw")
			run := w.run("--resync", "1h")
			w.equal(testenv.Soon, keys, "dfw")
			run.shows("dfw", "Synced", "")
			remote := shared.Cluster("dfw")
			before, err := remote.Secret(w.Ctx, w.NS)
			w.Must(err)
			switch {
			case drift.change != nil:
				w.edit(remote, rival, drift.change)
			case drift.made == nil:
				w.Must(remote.Delete(w.Ctx, w.NS))
			default:
				// Freeze fernetcast, which would otherwise be the first to recreate the Secret.
				w.Must(run.Freeze())
				w.Must(remote.Delete(w.Ctx, w.NS))
				_, err := remote.Put(w.Ctx, w.NS, drift.made)
				w.Must(err)
				w.Must(run.Thaw())
			}
			w.repaired(remote, keys, before.Annotations)
			// Later rotations must still arrive.
			w.equal(testenv.Soon, w.rotate().Keys, "dfw")
			run.shows("dfw", "Synced", "")
		})
	}
}

// repaired waits until the Secret has these keys and the complete stamp.
func (w *world) repaired(c *testenv.Cluster, keys testenv.Repository, stamp map[string]string) {
	w.Helper()
	w.Until(func(ctx context.Context) error {
		after, err := c.Secret(ctx, w.NS)
		if err != nil {
			return err
		}
		if !maps.Equal(after.Annotations, stamp) {
			return fmt.Errorf("the copy has the annotations %v, want %v", after.Annotations, stamp)
		}
		return c.Holds(ctx, w.NS, keys)
	})
}

// TestDriftWhileAway checks that fernetcast repairs drift that happened before it started.
func TestDriftWhileAway(t *testing.T) {
	t.Parallel()
	w, run, keys := newSynced(t, func(w *world) *replica { return w.run() })
	run.Kill()
	w.edit(shared.Cluster("dfw"), rival, func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) })
	w.Must(shared.Cluster("iad").Delete(w.Ctx, w.NS))
	w.exits(1, "status")
	w.run("--resync", "1h")
	w.equal(testenv.Soon, keys, remotes...)
	w.exits(0, "status")
}

// TestContest checks a remote in which a second writer undoes every repair. fernetcast must name
// that writer, repair with backoff, and still push new keys immediately. After the second writer
// stops, drift must be repaired as usual.
func TestContest(t *testing.T) {
	const initial, quiet = time.Second, 4 * time.Second
	w, run, keys := newSynced(t, func(w *world) *replica {
		return w.run("--resync", "1h", "--backoff-initial", initial.String(), "--backoff-max", quiet.String())
	})
	remote := shared.Cluster("dfw")
	seen := w.follow("dfw", "iad")
	stop := w.fight(remote, shared.Keys.NewRepository(5, 3))
	run.shows("dfw", "Contested", rival)
	w.exits(1, "status")
	// The fourth interval of the backoff is 3.4 s, or at least half of that with jitter. So a push
	// within a second can't have waited for the backoff.
	w.repairs(seen["dfw"], keys, 4)
	rotation := w.rotate()
	if late := w.arrived(seen["dfw"], rotation.Keys).Sub(rotation.Committed); late > time.Second {
		t.Errorf("new keys reached a contested remote after %v: they waited for its backoff", late)
	}
	w.equal(testenv.Soon, rotation.Keys, "iad", "ord")
	seen["iad"].only(rotation.Keys)
	w.spaced(seen["dfw"], keys, initial/2)

	stop()
	run.shows("dfw", "Synced", "")
	w.equal(testenv.Soon, rotation.Keys, remotes...)
	w.edit(remote, rival, func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) })
	w.equal(testenv.Soon, rotation.Keys, remotes...)
	run.shows("dfw", "Synced", "")
}

// fight simulates a rival that restores its own keys after each change, until stop is called or the
// test ends.
func (w *world) fight(c *testenv.Cluster, keys testenv.Repository) (stop func()) {
	ctx, cancel := context.WithCancel(w.Ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Until returns only when ctx ends.
		_ = testenv.Until(ctx, testenv.Often, func(ctx context.Context) error {
			if c.Holds(ctx, w.NS, keys) == nil {
				return errors.New("nothing to undo")
			}
			return fmt.Errorf("undone: %w", c.Edit(ctx, w.NS, rival, func(s *corev1.Secret) { s.Data = keys }))
		})
	}()
	stop = func() { cancel(); <-ended }
	w.Cleanup(stop)
	return stop
}

// repairs waits until fernetcast has restored the keys the given number of times.
func (w *world) repairs(h *history, keys testenv.Repository, times int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Ctx, 2*testenv.Soon)
	defer cancel()
	count := 0
	_, err := h.Await(ctx, func(v testenv.Version) bool {
		if !v.Deleted && keys.Equal(v.Keys()) {
			count++
		}
		return count > times
	})
	w.Must(err)
}

// spaced fails the test unless each repair came at least the duration least after the previous one.
// The first repair doesn't count, because it is immediate.
func (w *world) spaced(h *history, keys testenv.Repository, least time.Duration) {
	w.Helper()
	var repairs []time.Time
	for _, v := range h.since() {
		if !v.Deleted && keys.Equal(v.Keys()) {
			repairs = append(repairs, v.Seen)
		}
	}
	for i := 1; i < len(repairs); i++ {
		if gap := repairs[i].Sub(repairs[i-1]); gap < least {
			w.Errorf("repair %d of %d came %v after the previous one, want at least %v", i+1, len(repairs), gap, least)
		}
	}
}
