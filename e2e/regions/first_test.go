package regions

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A remote without the Secret, one with an empty one as Helm renders it first,
// and one with keys of its own: all get the main's, exactly, and keep what
// else is on theirs.
func TestFirstSync(t *testing.T) {
	w := newWorld(t)
	keys := w.keys()
	_, err := shared.Cluster("iad").Put(w.ctx, w.ns, testenv.Repository{})
	w.must(err)
	other := shared.Cluster("ord")
	secret, err := other.Put(w.ctx, w.ns, shared.Keys.NewRepository(12, 4))
	w.must(err)
	secret.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
	secret.Annotations = map[string]string{"meta.helm.sh/release-name": "keystone"}
	_, err = other.Client().CoreV1().Secrets(w.ns).Update(w.ctx, secret, metav1.UpdateOptions{})
	w.must(err)

	w.promote() // before it knows of a remote: the first sync is run's
	w.join(remotes...)
	run := w.run()
	w.equal(soon, keys, remotes...)
	for _, name := range remotes {
		run.shows(name, "Synced", "")
	}
	after, err := other.Secret(w.ctx, w.ns)
	w.must(err)
	if after.UID != secret.UID || after.Type != secret.Type ||
		after.Labels["app.kubernetes.io/managed-by"] != "Helm" || after.Annotations["meta.helm.sh/release-name"] != "keystone" {
		t.Errorf("ord's own labels, annotations or type are lost: %v, %v, %s", after.Labels, after.Annotations, after.Type)
	}
	w.exits(0, "status")
	w.equal(time.Second, keys, remotes...)
}
