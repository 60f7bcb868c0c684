package regions

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// settle is the value of --settle: how long every remote must have had the keys. Because API
// servers record times in whole seconds, the actual time can be one second less.
const settle = 10 * time.Second

// TestWaitSettles checks that wait ends when every remote has had the keys for the duration
// --settle. This depends on when the keys were written according to the API servers, not on when
// the command first saw them.
func TestWaitSettles(t *testing.T) {
	t.Parallel()
	w := pushed(t)
	written := w.lastWrite()
	said := w.exits(0, "wait", "--settle", settle.String(), "--timeout", "1m")
	if held := time.Since(written); held < settle-time.Second {
		t.Errorf("wait ended %v after the write, want %v", held, settle)
	}
	if !strings.Contains(said, "dfw (Synced for") {
		t.Errorf("wait does not name the remotes it waits for:\n%s", said)
	}
	_, err := shared.Cluster("dfw").Client().CoreV1().Secrets(w.NS).Patch(w.Ctx, testenv.SecretName, types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"seen":"by-somebody"}}}`), metav1.PatchOptions{})
	w.Must(err)
	if said := w.exits(0, "wait", "--settle", settle.String()); strings.Contains(said, "waiting") {
		t.Errorf("wait waits again although no keys were written since:\n%s", said)
	}
	w.drift("ord")
	w.exits(0, "push", "ord")
	if said := w.exits(0, "wait", "--settle", settle.String()); !strings.Contains(said, "ord (Synced for") || strings.Contains(said, "dfw") {
		t.Errorf("wait names remotes other than the one that was written:\n%s", said)
	}
}

// lastWrite returns when the last remote got its keys, according to its API server.
func (w *world) lastWrite() time.Time {
	w.Helper()
	var last time.Time
	for _, name := range remotes {
		secret, err := shared.Cluster(name).Secret(w.Ctx, w.NS)
		w.Must(err)
		for _, entry := range secret.ManagedFields {
			if entry.Time.After(last) {
				last = entry.Time.Time
			}
		}
	}
	return last
}

// pushed returns a world whose remotes have the main region's keys, although run was never started.
func pushed(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.keys()
	w.promote()
	w.join(remotes...)
	w.exits(0, "push")
	return w
}

// drift changes a remote's keys, as another writer would.
func (w *world) drift(remote string) {
	w.Helper()
	_, err := shared.Cluster(remote).Put(w.Ctx, w.NS, shared.Keys.NewRepository(3, 3))
	w.Must(err)
}

// TestWaitInVain checks that wait times out if nothing pushes the keys, and shows the states of the
// remotes that lack them. wait itself must change nothing.
func TestWaitInVain(t *testing.T) {
	t.Parallel()
	w := pushed(t)
	w.rotate()
	seen := w.follow(append([]string{mainRegion}, remotes...)...)
	said := w.exits(1, "wait", "--settle", "0", "--timeout", "3s")
	for _, want := range []string{"timed out after 3s waiting for dfw (Behind), iad (Behind), ord (Behind)", "BEHIND"} {
		if !strings.Contains(said, want) {
			t.Errorf("the output does not contain %q:\n%s", want, said)
		}
	}
	w.exits(2, "wait", "nowhere")
	w.untouched(seen)
	w.exits(1, "wait", "--settle", "0", "--timeout", "1s", "--clusters", t.TempDir())
	w.exits(0, "push", "iad")
	w.exits(0, "wait", "--settle", "0", "--timeout", "3s", "iad")
	w.exits(1, "wait", "--settle", "0", "--timeout", "3s", "iad", "ord")
	run := w.run()
	w.exits(0, "wait", "--settle", "0")
	run.shows("ord", "Synced", "")
}

// TestWaitOnStandby checks that wait fails if the source is a copy, because a copy's keys must not
// rotate.
func TestWaitOnStandby(t *testing.T) {
	t.Parallel()
	w := pushed(t)
	standby := newMain(w.Stage, "dfw")
	standby.join("ord")
	if said := standby.exits(1, "wait", "--settle", "0", "--timeout", "1s"); !strings.Contains(said, "the source (Standby)") {
		t.Errorf("wait does not report what it waits for:\n%s", said)
	}
}
