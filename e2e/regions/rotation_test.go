package regions

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestTenRotations checks that the lowest key, which each rotation purges, also disappears from the
// remotes. For each rotation, fernetcast must write once to each remote, and never to the main
// region.
func TestTenRotations(t *testing.T) {
	t.Parallel()
	w, run, keys := newSynced(t, func(w *world) *replica { return w.run("--resync", "1h") })
	seen := w.follow(append([]string{mainRegion}, remotes...)...)
	var sets []testenv.Repository
	var last testenv.Rotation
	for range 10 {
		last = w.rotate()
		if len(last.Keys) != len(keys) {
			t.Fatalf("the rotation left %d keys, so it did not purge", len(last.Keys))
		}
		w.equal(testenv.Soon, last.Keys, remotes...)
		sets = append(sets, last.Keys)
	}
	for _, history := range seen {
		history.only(sets...)
	}
	w.Until(func(ctx context.Context) error {
		st, err := run.status(ctx)
		if err != nil {
			return err
		}
		for _, name := range remotes {
			if r := st.Remote(name); r.State != "Synced" || r.PushedResourceVersion != last.ResourceVersion {
				err = errors.Join(err, fmt.Errorf("/statusz shows %s as %s with version %s, want %s", name, r.State, r.PushedResourceVersion, last.ResourceVersion))
			}
		}
		return err
	})
	w.exits(0, "status")
}

// TestFewerActiveKeys checks a rotation that purges several keys at once, because max_active_keys
// was lowered.
func TestFewerActiveKeys(t *testing.T) {
	t.Parallel()
	w, _, _ := newSynced(t, func(w *world) *replica { return w.run("--resync", "1h") })
	seen := w.follow(remotes...)
	rotation, err := w.Home.Rotate(w.Ctx, w.NS, 3)
	w.Must(err)
	if len(rotation.Keys) != 3 {
		t.Fatalf("the rotation left %d keys", len(rotation.Keys))
	}
	w.equal(testenv.Soon, rotation.Keys, remotes...)
	for _, history := range seen {
		history.only(rotation.Keys)
	}
}

// TestRotationsWhileAway checks that several rotations while fernetcast isn't running need only one
// write to each remote.
func TestRotationsWhileAway(t *testing.T) {
	t.Parallel()
	w, run, _ := newSynced(t, func(w *world) *replica { return w.run() })
	run.Kill()
	seen := w.follow(remotes...)
	var last testenv.Rotation
	for range 3 {
		last = w.rotate()
	}
	st, result, err := w.Operator.Status(w.Ctx)
	w.Must(err)
	for _, name := range remotes {
		if r := st.Remote(name); r.State != "Behind" || r.Behind == nil || *r.Behind != 3 {
			t.Errorf("status shows %s as %s, want Behind by 3:\n%s", name, r.State, result.Stdout)
		}
	}
	if result.Code != 1 {
		t.Errorf("status with remotes behind: exit %d, want 1", result.Code)
	}
	w.run()
	w.equal(testenv.Soon, last.Keys, remotes...)
	for _, history := range seen {
		history.only(last.Keys)
	}
}
