package manifests

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// admit creates a pod from a template, and deletes it again. It returns the API server's error if
// the pod is rejected.
func admit(ctx context.Context, cluster *testenv.Cluster, template corev1.PodTemplateSpec) error {
	pods := cluster.Client().CoreV1().Pods(namespace)
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.GenerateName = "restricted-"
	pod, err := pods.Create(ctx, pod, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return err
	}
	return pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))})
}

func TestPodsAreRestricted(t *testing.T) {
	ctx := within(t, time.Minute)
	lab := shared.Cluster("lab")
	makeNamespace(ctx, t, lab)

	// The API server must reject each of these changes. Otherwise, the admission of the original
	// pod would prove nothing.
	loosened := map[string]func(*corev1.SecurityContext){
		"allowPrivilegeEscalation": func(c *corev1.SecurityContext) { c.AllowPrivilegeEscalation = ptr.To(true) },
		"capabilities":             func(c *corev1.SecurityContext) { c.Capabilities = nil },
		"runAsNonRoot":             func(c *corev1.SecurityContext) { c.RunAsNonRoot = nil },
		"runAsUser":                func(c *corev1.SecurityContext) { c.RunAsUser = ptr.To(int64(0)) },
		"seccompProfile":           func(c *corev1.SecurityContext) { c.SeccompProfile = nil },
	}
	for _, dir := range []string{sidecarDir, filesDir, deploymentDir, probeDir} {
		t.Run(dir, func(t *testing.T) {
			whole := template(t, dir)
			if err := admit(ctx, lab, whole); err != nil {
				t.Fatalf("the pod is not admitted: %v", err)
			}
			if c := container(t, &whole.Spec).SecurityContext; c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
				t.Error("the root file system is not read-only, which `restricted` does not require")
			}
			for field, loosen := range loosened {
				pod := *whole.DeepCopy()
				loosen(container(t, &pod.Spec).SecurityContext)
				err := admit(ctx, lab, pod)
				if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), field) {
					t.Errorf("a pod with %s loosened: %v, want it rejected for that", field, err)
				}
			}
		})
	}
}
