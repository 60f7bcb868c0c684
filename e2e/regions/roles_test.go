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

// The design's own Role and the one that Genestack documents are enough, where
// the Secret is there and where it is not.
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
			// Without a watch these are found by GET.
			w.Must(shared.Cluster("dfw").Delete(w.Ctx, w.NS))
			w.edit(shared.Cluster("iad"), rival, func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) })
			w.equal(testenv.Soon, last, remotes...)
			run.allShow("Synced", "", remotes...)
			w.exits(0, "status")
		})
	}
}

// A new key set does not wait for the GETs of a remote that may not be watched,
// and that it may not be is said once.
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
			if strings.Contains(line, "may not watch") && strings.Contains(line, `"remote":"`+name+`"`) {
				said[name]++
			}
		}
	}
	if said["dfw"] != 1 || said["iad"] != 0 {
		t.Errorf("that a remote may not be watched was said %v times, want once of dfw alone", said)
	}
}

// mayUpdate adds to the Role without update what it lacks.
func (w *world) mayUpdate(c *testenv.Cluster) {
	w.Helper()
	roles := c.Client().RbacV1().Roles(w.NS)
	role, err := roles.Get(w.Ctx, "fernetcast-"+string(testenv.NoUpdateRole), metav1.GetOptions{})
	w.Must(err)
	role.Rules[0].Verbs = append(slices.Clone(role.Rules[0].Verbs), "update")
	_, err = roles.Update(w.Ctx, role, metav1.UpdateOptions{})
	w.Must(err)
}

// Without update an absent Secret can be made, and not be changed then.
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

// A token that may nothing, and a namespace that is missing: both are Denied,
// and said to be either.
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

	// A Role that is taken away and given back while it runs.
	w.Must(shared.Cluster("ord").Forbid(w.Ctx, w.NS, testenv.RemoteRole))
	last := w.rotate().Keys
	run.shows("ord", "Denied", "")
	_, err = shared.Cluster("ord").Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.RemoteRole})
	w.Must(err)
	w.equal(testenv.Soon, last, "ord")
	run.shows("ord", "Synced", "")
}
