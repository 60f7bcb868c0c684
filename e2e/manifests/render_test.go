package manifests

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/fernetcast/fernetcast/e2e/testenv/kustomize"
)

// render builds a kustomization, as `kubectl kustomize` does.
func render(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	resources, err := kustomize.Build(dir)
	if err != nil {
		t.Fatalf("building %s: %v", dir, err)
	}
	var objects []*unstructured.Unstructured
	for _, resource := range resources.Resources() {
		// Use YAML, as kubectl does, so that 0444 is an octal number.
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatalf("writing %s of %s: %v", resource.CurId(), dir, err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(text, &object.Object); err != nil {
			t.Fatalf("reading %s of %s: %v", resource.CurId(), dir, err)
		}
		objects = append(objects, object)
	}
	return objects
}

// template returns the pod template of the only Deployment in a kustomization.
func template(t *testing.T, dir string) corev1.PodTemplateSpec {
	t.Helper()
	var found []appsv1.Deployment
	for _, object := range render(t, dir) {
		if object.GetKind() != "Deployment" {
			continue
		}
		var deployment appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &deployment, true); err != nil {
			t.Fatalf("reading the Deployment of %s: %v", dir, err)
		}
		found = append(found, deployment)
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d Deployments, want 1", dir, len(found))
	}
	return found[0].Spec.Template
}

// container returns fernetcast's container or init container in a pod.
func container(t *testing.T, pod *corev1.PodSpec) *corev1.Container {
	t.Helper()
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			if containers[i].Name == "fernetcast" {
				return &containers[i]
			}
		}
	}
	t.Fatal("the pod has no container fernetcast")
	return nil
}

// ours reports whether a volume belongs to fernetcast.
func ours(v corev1.Volume) bool { return strings.HasPrefix(v.Name, "fernetcast-") }

// volumes returns fernetcast's volumes, sorted by name.
func volumes(pod *corev1.PodSpec) (all []corev1.Volume) {
	for _, v := range pod.Volumes {
		if ours(v) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b corev1.Volume) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// volume returns the volume with the remotes' kubeconfigs.
func volume(t *testing.T, pod *corev1.PodSpec) corev1.Volume {
	t.Helper()
	for _, volume := range pod.Volumes {
		if volume.Name == "fernetcast-clusters" {
			return volume
		}
	}
	t.Fatal("the pod has no volume fernetcast-clusters")
	return corev1.Volume{}
}
