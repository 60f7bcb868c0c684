package regions

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// A mounted Secret: the kubelet changes all files at once by a link that it swaps.
func TestMountedSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	mount := &mounted{w: w, dir: w.Clusters}
	dfw, iad := w.kubeconfig("dfw"), w.kubeconfig("iad")
	mount.swap(map[string][]byte{"dfw.yaml": dfw, "iad.yaml": iad})
	run := w.run("--resync", "1h")
	w.equal(testenv.Soon, keys, "dfw", "iad")
	seen := w.follow("dfw")
	first := w.rotate().Keys
	w.equal(testenv.Soon, first, "dfw", "iad")

	// iad's token is another, ord is new, dfw's bytes are the same.
	w.Must(shared.Cluster("iad").Revoke(w.Ctx, w.NS, testenv.RemoteRole))
	mount.swap(map[string][]byte{"dfw.yaml": dfw, "iad.yaml": w.kubeconfig("iad"), "ord.yaml": w.kubeconfig("ord")})
	w.equal(testenv.Soon, first, remotes...)
	second := w.rotate().Keys
	w.equal(testenv.Soon, second, remotes...)
	if n := strings.Count(run.Stderr.String(), `"remote taken up","remote":"dfw"`); n != 1 {
		t.Errorf("dfw was taken up %d times: equal bytes are no change", n)
	}

	mount.swap(map[string][]byte{"dfw.yaml": dfw, "ord.yaml": w.kubeconfig("ord")})
	run.forgets("iad")
	third := w.rotate().Keys
	w.equal(testenv.Soon, third, "dfw", "ord")
	w.equal(testenv.Soon, second, "iad")
	seen["dfw"].only(first, second, third)
}

// mounted is a directory as the kubelet mounts a Secret: each file is a link to
// ..data/FILE, and ..data is one to a directory that is never changed.
type mounted struct {
	w     *world
	dir   string
	swaps int
}

func (m *mounted) swap(files map[string][]byte) {
	m.w.Helper()
	m.swaps++
	old, _ := os.Readlink(filepath.Join(m.dir, "..data"))
	now := fmt.Sprintf("..2026_11_21_12_00_%02d.123", m.swaps)
	m.w.Must(os.Mkdir(filepath.Join(m.dir, now), 0o700))
	for name, data := range files {
		m.w.Must(os.WriteFile(filepath.Join(m.dir, now, name), data, 0o600))
	}
	next := filepath.Join(m.dir, "..data_tmp")
	m.w.Must(os.Symlink(now, next))
	m.w.Must(os.Rename(next, filepath.Join(m.dir, "..data")))
	links, err := filepath.Glob(filepath.Join(m.dir, "[^.]*"))
	m.w.Must(err)
	for _, link := range links {
		if files[filepath.Base(link)] == nil {
			m.w.Must(os.Remove(link))
		}
	}
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)); err != nil && !os.IsExist(err) {
			m.w.Fatal(err)
		}
	}
	if old != "" {
		m.w.Must(os.RemoveAll(filepath.Join(m.dir, old)))
	}
}

func (w *world) kubeconfig(name string) []byte {
	w.Helper()
	kubeconfig, err := shared.Cluster(name).Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.RemoteRole})
	w.Must(err)
	return kubeconfig
}
