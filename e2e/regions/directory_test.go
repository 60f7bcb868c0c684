package regions

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
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
	d.Must(os.Mkdir(d.Clusters, 0o700))
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
	w.Must(os.Remove(w.Clusters))
	w.keys()
	w.promote()
	d := &directory{world: w, run: w.run("--resync", "1h")}
	d.run.source("Main", "")
	st, err := d.run.status(w.Ctx)
	w.Must(err)
	if len(st.Remotes) > 0 {
		t.Errorf("without a directory the remotes are %v", st.States())
	}
	return d
}

// rotates rotates, and waits for the good remotes and for those named.
func (d *directory) rotates(names ...string) {
	d.Helper()
	keys := d.rotate().Keys
	d.equal(testenv.Soon, keys, append(names, "dfw", "ord")...)
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
	d.Must(shared.Cluster(name).Revoke(d.Ctx, d.NS, testenv.RemoteRole))
	d.Until(func(ctx context.Context) error {
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
	d.Must(testenv.WriteFile(d.Clusters, name+".yaml", []byte("clusters: [half a fi")))
	d.run.shows(name, "Misconfigured", "going on with the last good one")
	d.rotates(name)
	d.added(name)
}

// removed has a file go: nothing is deleted there, and nothing written any more.
func (d *directory) removed(name string) {
	d.Helper()
	seen := d.follow(name)
	d.Must(os.Remove(filepath.Join(d.Clusters, name+".yaml")))
	d.run.forgets(name)
	d.rotates()
	seen[name].untouched()
}

// forgets waits until /statusz does not have the remote any more.
func (r *replica) forgets(remote string) {
	r.w.Helper()
	r.w.Until(func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err == nil && st.Remote(remote) != nil {
			err = fmt.Errorf("%s is still there", remote)
		}
		return err
	})
}

// A directory where a kubeconfig should be is what a bind mount of a missing
// file makes. Like all else that is no file it is a remote that is not well: no
// rotation passes the gate because of it.
func TestDirectoryForAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.join("dfw")
	w.exits(0, "push")
	w.exits(0, "wait", "--settle", "0")
	folder := filepath.Join(w.Clusters, "iad.yaml")
	w.Must(os.Mkdir(folder, 0o700))
	if said := w.exits(1, "wait", "--settle", "0", "--timeout", "1s"); !strings.Contains(said, "iad (Misconfigured)") {
		t.Errorf("wait does not name iad:\n%s", said)
	}
	w.Must(syscall.Mkfifo(filepath.Join(w.Clusters, "pipe.yaml"), 0o600))
	run := w.run()
	table := w.exits(1, "status")
	for name, why := range map[string]string{"iad": "iad.yaml is a directory, not a file", "pipe": "pipe.yaml is a pipe"} {
		run.shows(name, "Misconfigured", why)
		if line := lineOf(table, name); !strings.Contains(line, "Misconfigured") || !strings.Contains(line, why) {
			t.Errorf("status says of %s: %q, want %s", name, line, why)
		}
	}

	// In place of a good one it changes nothing of what that does.
	w.equal(testenv.Soon, keys, "dfw")
	w.Must(os.Symlink("iad.yaml", filepath.Join(w.Clusters, ".new")))
	w.Must(os.Rename(filepath.Join(w.Clusters, ".new"), filepath.Join(w.Clusters, "dfw.yaml")))
	run.shows("dfw", "Misconfigured", "dfw.yaml is a directory")
	w.equal(testenv.Soon, w.rotate().Keys, "dfw")
	w.Must(os.Remove(folder))
	w.join("dfw", "iad")
	run.allShow("Synced", "", "dfw", "iad")
}
