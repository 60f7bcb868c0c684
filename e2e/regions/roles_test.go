package regions

import (
	"slices"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// TestRoles checks that fernetcast's own Role and the Role in Genestack's documentation are
// sufficient, whether or not the Secret exists.
func TestRoles(t *testing.T) {
	t.Parallel()
	for _, role := range []testenv.Role{testenv.RemoteRole, testenv.GenestackRole} {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			keys := w.keys()
			_, err := shared.Cluster("iad").Put(w.Ctx, w.NS, testenv.Repository{})
			w.Must(err)
			_, err = shared.Cluster("ord").Put(w.Ctx, w.NS, shared.Keys.NewRepository(3, 3))
			w.Must(err)
			w.promote()
			for _, name := range remotes {
				w.joinAs(name, testenv.Access{Role: role})
			}
			run := w.run("--resync", "2s")
			w.equal(testenv.Soon, keys, remotes...)
			for range 2 {
				w.equal(testenv.Soon, w.rotate().Keys, remotes...)
			}
			last := w.rotate().Keys
			w.equal(testenv.Soon, last, remotes...)
			// Without a watch, only a GET finds these changes.
			w.Must(shared.Cluster("dfw").Delete(w.Ctx, w.NS))
			w.edit(shared.Cluster("iad"), rival, func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) })
			w.equal(testenv.Soon, last, remotes...)
			run.allShow("Synced", "", remotes...)
			w.exits(0, "status")
		})
	}
}

// TestWithoutWatch checks a remote that fernetcast may not watch, and therefore polls. New key sets
// must not wait for the next poll, and the missing permission must be logged once.
func TestWithoutWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.joinAs("dfw", testenv.Access{Role: testenv.GenestackRole})
	w.join("iad")
	run := w.run("--resync", "1h")
	w.equal(testenv.Soon, keys, "dfw", "iad")
	for range 3 {
		w.equal(testenv.Soon, w.rotate().Keys, "dfw", "iad")
	}
	said := map[string]int{}
	for line := range strings.Lines(run.Stderr.String()) {
		for _, name := range []string{"dfw", "iad"} {
			if strings.Contains(line, "remote watch is forbidden") && strings.Contains(line, `"remote":"`+name+`"`) {
				said[name]++
			}
		}
	}
	if said["dfw"] != 1 || said["iad"] != 0 {
		t.Errorf("the missing permission to watch was logged %v times, want once, for dfw only", said)
	}
}

// mayUpdate adds the verb update to the Role that lacks it.
func (w *world) mayUpdate(c *testenv.Cluster) {
	w.Helper()
	roles := c.Client().RbacV1().Roles(w.NS)
	role, err := roles.Get(w.Ctx, "fernetcast-"+string(testenv.NoUpdateRole), metav1.GetOptions{})
	w.Must(err)
	role.Rules[0].Verbs = append(slices.Clone(role.Rules[0].Verbs), "update")
	_, err = roles.Update(w.Ctx, role, metav1.UpdateOptions{})
	w.Must(err)
}

// TestRoleWithoutUpdateCreates checks that with a Role without update, fernetcast can create an
// absent Secret but not change it.
func TestRoleWithoutUpdateCreates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.joinAs("iad", testenv.Access{Role: testenv.NoUpdateRole})
	run := w.run("--backoff-max", "2s")
	w.equal(testenv.Soon, keys, "iad")
	run.shows("iad", "Synced", "")
	last := w.rotate().Keys
	run.shows("iad", "Denied", "cannot update")
	w.mayUpdate(shared.Cluster("iad"))
	w.equal(testenv.Soon, last, "iad")
}

// TestDenied checks a remote whose token has no permissions, and one whose namespace is missing.
// API servers return the same error for both, so both must be Denied, with a detail that mentions
// both causes.
func TestDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.joinAs("dfw", testenv.Access{Role: testenv.NoRole})
	kubeconfig, err := shared.Cluster("iad").Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.RemoteRole})
	w.Must(err)
	astray, err := clientcmd.Load(kubeconfig)
	w.Must(err)
	astray.Contexts[astray.CurrentContext].Namespace = "nowhere"
	kubeconfig, err = clientcmd.Write(*astray)
	w.Must(err)
	w.Must(testenv.WriteFile(w.Clusters, "iad.yaml", kubeconfig))
	w.join("ord")
	run := w.run("--backoff-max", "2s")
	w.equal(testenv.Soon, keys, "ord")
	run.allShow("Denied", "namespace", "dfw", "iad")
	w.equal(testenv.Soon, w.rotate().Keys, "ord")

	// Remove a remote's RoleBinding while fernetcast runs, and restore it.
	w.Must(shared.Cluster("ord").Forbid(w.Ctx, w.NS, testenv.RemoteRole))
	last := w.rotate().Keys
	run.shows("ord", "Denied", "")
	_, err = shared.Cluster("ord").Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.RemoteRole})
	w.Must(err)
	w.equal(testenv.Soon, last, "ord")
	run.shows("ord", "Synced", "")
}
