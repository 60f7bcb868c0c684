package regions

import (
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestMountedSecret checks kubeconfigs in a mounted Secret. The kubelet replaces all its files at
// once by swapping a link.
func TestMountedSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	swap := func(files map[string][]byte) { w.Must(testenv.WriteVolume(w.Clusters, files, 0o600)) }
	dfw, iad := w.kubeconfig("dfw"), w.kubeconfig("iad")
	swap(map[string][]byte{"dfw.yaml": dfw, "iad.yaml": iad})
	run := w.run("--resync", "1h")
	w.equal(testenv.Soon, keys, "dfw", "iad")
	seen := w.follow("dfw")
	first := w.rotate().Keys
	w.equal(testenv.Soon, first, "dfw", "iad")

	// iad has a new token, ord is new, and dfw's file is unchanged.
	w.Must(shared.Cluster("iad").Revoke(w.Ctx, w.NS, testenv.RemoteRole))
	swap(map[string][]byte{"dfw.yaml": dfw, "iad.yaml": w.kubeconfig("iad"), "ord.yaml": w.kubeconfig("ord")})
	w.equal(testenv.Soon, first, remotes...)
	second := w.rotate().Keys
	w.equal(testenv.Soon, second, remotes...)
	if n := strings.Count(run.Stderr.String(), `"remote added","remote":"dfw"`); n != 1 {
		t.Errorf("dfw was loaded %d times, although its kubeconfig did not change", n)
	}

	swap(map[string][]byte{"dfw.yaml": dfw, "ord.yaml": w.kubeconfig("ord")})
	run.forgets("iad")
	third := w.rotate().Keys
	w.equal(testenv.Soon, third, "dfw", "ord")
	w.equal(testenv.Soon, second, "iad")
	seen["dfw"].only(first, second, third)
}

func (w *world) kubeconfig(name string) []byte {
	w.Helper()
	kubeconfig, err := shared.Cluster(name).Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.RemoteRole})
	w.Must(err)
	return kubeconfig
}
