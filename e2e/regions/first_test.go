package regions

import (
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestFirstSync checks remotes without the Secret, with an empty Secret as Helm first renders it,
// and with their own keys. All must get exactly the main region's keys and keep their other
// metadata.
func TestFirstSync(t *testing.T) {
	w := newWorld(t)
	keys := w.keys()
	_, err := shared.Cluster("iad").Put(w.Ctx, w.NS, testenv.Repository{})
	w.Must(err)
	other := shared.Cluster("ord")
	secret, err := other.Put(w.Ctx, w.NS, shared.Keys.NewRepository(12, 4))
	w.Must(err)
	secret.Labels = map[string]string{"app.kubernetes.io/managed-by": "Helm"}
	secret.Annotations = map[string]string{"meta.helm.sh/release-name": "keystone"}
	_, err = other.Client().CoreV1().Secrets(w.NS).Update(w.Ctx, secret, metav1.UpdateOptions{})
	w.Must(err)

	w.promote() // promote before join, because promote would push to joined remotes, and run must do the first sync
	w.join(remotes...)
	run := w.run()
	w.equal(testenv.Soon, keys, remotes...)
	for _, name := range remotes {
		run.shows(name, "Synced", "")
	}
	after, err := other.Secret(w.Ctx, w.NS)
	w.Must(err)
	if after.UID != secret.UID || after.Type != secret.Type ||
		after.Labels["app.kubernetes.io/managed-by"] != "Helm" || after.Annotations["meta.helm.sh/release-name"] != "keystone" {
		t.Errorf("ord lost its own labels, annotations, or type: %v, %v, %s", after.Labels, after.Annotations, after.Type)
	}
	w.exits(0, "status")
	w.equal(time.Second, keys, remotes...)
}
