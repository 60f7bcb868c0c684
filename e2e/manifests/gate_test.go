package manifests

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const gateDir = "testdata/gate"

// rotation returns the pod template of the rotation CronJob in a kustomization.
func rotation(t *testing.T, dir string) corev1.PodSpec {
	t.Helper()
	for _, object := range render(t, dir) {
		if object.GetKind() != "CronJob" {
			continue
		}
		var job batchv1.CronJob
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &job, true); err != nil {
			t.Fatalf("reading the CronJob of %s: %v", dir, err)
		}
		return job.Spec.JobTemplate.Spec.Template.Spec
	}
	t.Fatalf("%s has no CronJob", dir)
	return corev1.PodSpec{}
}

// The gate is one init container that must succeed before the rotation. Nothing else in the CronJob
// changes.
func TestGateStandsBeforeTheRotation(t *testing.T) {
	plain, gated := rotation(t, "testdata/rotation"), rotation(t, gateDir)
	isGate := func(c corev1.Container) bool { return c.Name == "fernetcast-wait" }
	at := slices.IndexFunc(gated.InitContainers, isGate)
	if at < 0 {
		t.Fatal("the rotation is not gated")
	}
	gate := gated.InitContainers[at]
	if gate.RestartPolicy != nil || !slices.Equal(gate.Args, []string{"wait", "--clusters=/etc/fernetcast/clusters", "--identity=fernetcast-identity"}) {
		t.Errorf("the rotation does not wait for the gate: %v, restart policy %v", gate.Args, gate.RestartPolicy)
	}
	sidecar := template(t, sidecarDir).Spec
	beside := *container(t, &sidecar)
	if diff := cmp.Diff(beside.VolumeMounts, gate.VolumeMounts); diff != "" || gate.Image != beside.Image {
		t.Errorf("the gate's image differs from %s, or its mounts differ:\n%s", beside.Image, diff)
	}
	secret := volume(t, &gated).Secret
	if secret == nil || secret.SecretName != "fernetcast-clusters" || secret.Optional != nil || secret.DefaultMode == nil || *secret.DefaultMode != 0o444 {
		t.Errorf("without the remotes' kubeconfigs, every rotation would pass: %+v", secret)
	}
	gated.InitContainers = slices.Delete(gated.InitContainers, at, at+1)
	gated.Volumes = slices.DeleteFunc(gated.Volumes, ours)
	if diff := cmp.Diff(plain, gated); diff != "" {
		t.Errorf("changes other than a container and its volume (-before +after):\n%s", diff)
	}
}

// A real API server accepts the gate's manifests. The gate may only read one Secret and request
// tokens for one account. The test removes the permissions of the rotation job itself, so that only
// those of the gate remain.
func TestGateApplies(t *testing.T) {
	ctx := within(t, time.Minute)
	lab := shared.Cluster("lab")
	apply(ctx, t, lab, render(t, gateDir)...)
	job, err := lab.Client().BatchV1().CronJobs(namespace).Get(ctx, "keystone-fernet-rotate", metav1.GetOptions{})
	testenv.Must(t, err)
	if n := len(job.Spec.JobTemplate.Spec.Template.Spec.InitContainers); n != 2 {
		t.Errorf("the API server decoded %d init containers, want 2", n)
	}
	testenv.Must(t, lab.Client().RbacV1().RoleBindings(namespace).Delete(ctx, "keystone-fernet-rotate", metav1.DeleteOptions{}))
	nobody := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}
	_, err = lab.Client().CoreV1().ServiceAccounts(namespace).Create(ctx, nobody, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	anybody := rules(ctx, t, signedIn(ctx, t, lab, "nobody"), namespace)
	want := slices.Sorted(slices.Values(append(anybody, secretRule(t, "get"), identityRule(t))))
	gate := signedIn(ctx, t, lab, "keystone-fernet-rotate")
	err = testenv.Until(ctx, 100*time.Millisecond, func(context.Context) error { // RBAC takes a moment to notice the deletion
		if diff := cmp.Diff(want, rules(ctx, t, gate, namespace)); diff != "" {
			return fmt.Errorf("the gate's rights (-want +got):\n%s", diff)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
