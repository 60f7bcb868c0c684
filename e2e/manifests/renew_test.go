package manifests

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
)

// The CronJob in manifests/renew has the same container as manifests/deployment, with the same
// restrictions, but with another command and without a port.
func TestRenewIsTheSameContainer(t *testing.T) {
	ctx := within(t, time.Minute)
	lab := shared.Cluster("lab")
	renew, apart := rotation(t, renewDir), template(t, deploymentDir).Spec
	differs := cmpopts.IgnoreFields(corev1.Container{}, "Args", "Ports", "ReadinessProbe", "LivenessProbe")
	if diff := cmp.Diff(apart.Containers, renew.Containers, differs); diff != "" {
		t.Errorf("the container differs from the Deployment's (-deployment +renew):\n%s", diff)
	}
	if diff := cmp.Diff(volumes(&apart), volumes(&renew)); diff != "" {
		t.Errorf("the volumes differ from the Deployment's (-deployment +renew):\n%s", diff)
	}
	makeNamespace(ctx, t, lab)
	if err := admit(ctx, lab, corev1.PodTemplateSpec{Spec: renew}); err != nil {
		t.Errorf("the pod is not admitted: %v", err)
	}
}
