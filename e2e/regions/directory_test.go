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

// directory is a world in which kubeconfigs are added and removed. The kubeconfigs of dfw and ord,
// the good remotes, are always valid.
type directory struct {
	*world
	run  *replica
	good map[string]*history
	// sets are the key sets that the good remotes have received.
	sets []testenv.Repository
}

// TestDirectory adds, changes, breaks, and removes kubeconfigs while fernetcast runs. Each change
// affects only its own remote. The good remotes get every rotation.
func TestDirectory(t *testing.T) {
	t.Parallel()
	d := newDirectory(t)
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

// newDirectory starts fernetcast before the directory exists, so it has no remotes.
func newDirectory(t *testing.T) *directory {
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
		t.Errorf("without a directory, the remotes are %v", st.States())
	}
	return d
}

// rotates rotates the keys, and waits until the good remotes and the named ones have the new keys.
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

// renewed revokes a remote's token, waits until the remote is Denied, and adds a kubeconfig with a
// new token.
func (d *directory) renewed(name string) {
	d.Helper()
	d.Must(shared.Cluster(name).Revoke(d.Ctx, d.NS, testenv.RemoteRole))
	d.Until(func(ctx context.Context) error {
		d.rotates()
		st, err := d.run.status(ctx)
		if err == nil && st.Remote(name).State != "Denied" {
			err = fmt.Errorf("%s is %s with a revoked token", name, st.Remote(name).State)
		}
		return err
	})
	d.added(name)
}

// broken replaces a valid file with a truncated one. The last good version must stay in use.
func (d *directory) broken(name string) {
	d.Helper()
	d.Must(testenv.WriteFile(d.Clusters, name+".yaml", []byte("clusters: [half a fi")))
	d.run.shows(name, "Misconfigured", "still using the last good kubeconfig")
	d.rotates(name)
	d.added(name)
}

// removed removes a kubeconfig. fernetcast must not delete or write that remote's Secret.
func (d *directory) removed(name string) {
	d.Helper()
	seen := d.follow(name)
	d.Must(os.Remove(filepath.Join(d.Clusters, name+".yaml")))
	d.run.forgets(name)
	d.rotates()
	seen[name].untouched()
}

// forgets waits until /statusz no longer lists the remote.
func (r *replica) forgets(remote string) {
	r.w.Helper()
	r.w.Until(func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err == nil && st.Remote(remote) != nil {
			err = fmt.Errorf("%s still exists", remote)
		}
		return err
	})
}

// TestDirectoryForAFile checks a directory in place of a kubeconfig. A bind mount creates such a
// directory if the file to mount is missing. Like anything else that isn't a regular file, it must
// count as an unhealthy remote, so that wait stops rotations.
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
			t.Errorf("status shows %s as %q, want %s", name, line, why)
		}
	}

	// If a directory replaces a valid file, pushes must continue.
	w.equal(testenv.Soon, keys, "dfw")
	w.Must(os.Symlink("iad.yaml", filepath.Join(w.Clusters, ".new")))
	w.Must(os.Rename(filepath.Join(w.Clusters, ".new"), filepath.Join(w.Clusters, "dfw.yaml")))
	run.shows("dfw", "Misconfigured", "dfw.yaml is a directory")
	w.equal(testenv.Soon, w.rotate().Keys, "dfw")
	w.Must(os.Remove(folder))
	w.join("dfw", "iad")
	run.allShow("Synced", "", "dfw", "iad")
}
