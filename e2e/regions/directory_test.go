package regions

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// directory is a world in which kubeconfigs come and go, while dfw and ord are
// good all the time.
type directory struct {
	*world
	run  *replica
	good map[string]*history
	// sets are the key sets since the good ones are followed.
	sets []testenv.Repository
}

// Kubeconfigs come, change, break and go while it runs. Each counts by itself:
// the good remotes have every rotation meanwhile.
func TestDirectory(t *testing.T) {
	t.Parallel()
	d := beforeDirectory(t)
	d.must(os.Mkdir(d.Clusters, 0o700))
	d.join("dfw", "ord")
	d.run.allShow("Synced", "", "dfw", "ord")
	d.good = d.follow("dfw", "ord")
	d.rotates()
	d.added("iad")
	d.renewed("iad")
	d.broken("iad")
	d.removed("iad")
	d.added("iad")
	for _, history := range d.good {
		history.only(d.sets...)
	}
}

// beforeDirectory runs the program where the directory does not exist: it has no remotes.
func beforeDirectory(t *testing.T) *directory {
	t.Helper()
	w := newWorld(t)
	w.must(os.Remove(w.Clusters))
	w.keys()
	w.promote()
	d := &directory{world: w, run: w.run("--resync", "1h")}
	d.run.source("Main", "")
	st, err := d.run.status(w.ctx)
	w.must(err)
	if len(st.Remotes) > 0 {
		t.Errorf("without a directory the remotes are %v", st.States())
	}
	return d
}

// rotates rotates, and waits for the good remotes and for those named.
func (d *directory) rotates(names ...string) {
	d.Helper()
	keys := d.rotate().Keys
	d.equal(soon, keys, append(names, "dfw", "ord")...)
	d.sets = append(d.sets, keys)
}

func (d *directory) added(name string) {
	d.Helper()
	d.join(name)
	d.run.shows(name, "Synced", "")
	d.rotates(name)
}

// renewed has a token end, and another one take its place.
func (d *directory) renewed(name string) {
	d.Helper()
	d.must(shared.Cluster(name).Revoke(d.ctx, d.ns, testenv.RemoteRole))
	d.until(soon, func(ctx context.Context) error {
		d.rotates()
		st, err := d.run.status(ctx)
		if err == nil && st.Remote(name).State != "Denied" {
			err = fmt.Errorf("%s is %s, with a token that was revoked", name, st.Remote(name).State)
		}
		return err
	})
	d.added(name)
}

// broken has half a file take a good one's place: the last good one goes on.
func (d *directory) broken(name string) {
	d.Helper()
	d.must(testenv.WriteFile(d.Clusters, name+".yaml", []byte("clusters: [half a fi")))
	d.run.shows(name, "Misconfigured", "going on with the last good one")
	d.rotates(name)
	d.added(name)
}

// removed has a file go: nothing is deleted there, and nothing written any more.
func (d *directory) removed(name string) {
	d.Helper()
	seen := d.follow(name)
	d.must(os.Remove(filepath.Join(d.Clusters, name+".yaml")))
	d.run.forgets(name)
	d.rotates()
	seen[name].untouched()
}

// forgets waits until /statusz does not have the remote any more.
func (r *replica) forgets(remote string) {
	r.w.Helper()
	r.w.until(soon, func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err == nil && st.Remote(remote) != nil {
			err = fmt.Errorf("%s is still there", remote)
		}
		return err
	})
}

// Two files of one remote's name: neither is believed.
func TestTwoFilesOfOneName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.join("dfw", "iad")
	w.must(testenv.WriteFile(w.Clusters, "iad.kubeconfig", w.kubeconfig("ord")))
	run := w.run()
	w.equal(soon, keys, "dfw")
	run.shows("iad", "Misconfigured", "iad.kubeconfig and iad.yaml")
	if out := w.exits(1, "status"); !strings.Contains(out, "iad.kubeconfig") {
		t.Errorf("status does not name the files:\n%s", out)
	}
	w.without("iad", "ord")
	w.must(os.Remove(filepath.Join(w.Clusters, "iad.kubeconfig")))
	run.shows("iad", "Synced", "")

	// Of one that was good, the last good one goes on.
	w.must(testenv.WriteFile(w.Clusters, "iad.yml", w.kubeconfig("ord")))
	run.shows("iad", "Misconfigured", "iad.yaml and iad.yml")
	w.equal(soon, w.rotate().Keys, "dfw", "iad")
	w.without("ord")
}

// without fails unless the named clusters have no such Secret.
func (w *world) without(names ...string) {
	w.Helper()
	for _, name := range names {
		_, err := shared.Cluster(name).Secret(w.ctx, w.ns)
		if !apierrors.IsNotFound(err) {
			w.Errorf("%s was to be left alone, and has a Secret (%v)", name, err)
		}
	}
}
