package testenv_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRestoreGoesBack(t *testing.T) {
	cluster, err := apart()
	must(t, err)
	_, namespace, keys := place(t, "apart", "apart")
	snapshot, err := cluster.Etcd.Snapshot(deadline(t))
	must(t, err)
	must(t, testenv.Until(deadline(t), 100*time.Millisecond, func(ctx context.Context) error { return cluster.Holds(ctx, namespace, keys) }))
	before, err := cluster.Secret(t.Context(), namespace)
	must(t, err)
	for range 2 { // a snapshot can be restored more than once
		lost, err := cluster.Rotate(deadline(t), namespace, 3)
		must(t, err)
		must(t, cluster.Etcd.Restore(deadline(t), snapshot))
		must(t, cluster.Restart(deadline(t)))
		must(t, cluster.Holds(deadline(t), namespace, keys))
		after, err := cluster.Secret(deadline(t), namespace)
		must(t, err)
		if after.UID != before.UID || after.ResourceVersion != before.ResourceVersion {
			t.Errorf("restored to %s of %s, wanted %s of %s", after.ResourceVersion, after.UID, before.ResourceVersion, before.UID)
		}
		if number(t, lost.ResourceVersion) <= number(t, after.ResourceVersion) {
			t.Errorf("the resourceVersion went from %s to %s, wanted it to go back", lost.ResourceVersion, after.ResourceVersion)
		}
	}
}

func TestWatchFromBeforeACompactionIsGone(t *testing.T) {
	cluster, err := apart()
	must(t, err)
	_, namespace, _ := place(t, "apart", "apart")
	secret, err := cluster.Secret(t.Context(), namespace)
	must(t, err)
	cluster.Kill()
	must(t, cluster.Etcd.Compact(deadline(t)))
	must(t, cluster.Restart(deadline(t)))
	watch, err := cluster.Client().CoreV1().Secrets(namespace).Watch(deadline(t), metav1.ListOptions{ResourceVersion: secret.ResourceVersion})
	must(t, err)
	defer watch.Stop()
	if event := <-watch.ResultChan(); !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
		t.Errorf("a watch from before the compaction brought %v, wanted 410", event)
	}
}

func number(t *testing.T, resourceVersion string) int {
	t.Helper()
	n, err := strconv.Atoi(resourceVersion)
	must(t, err)
	return n
}
