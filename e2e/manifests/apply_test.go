package manifests

import (
	"context"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// within returns a context with a timeout for one test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// until waits until check returns nil, which normally takes only a moment.
func until(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return testenv.Until(ctx, 20*time.Millisecond, check)
}

// makeNamespace creates the namespace that the manifests use, with the Pod Security level
// restricted.
func makeNamespace(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	_, err := cluster.Client().CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   namespace,
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("creating the namespace: %v", err)
	}
}

// apply applies objects like `kubectl apply --server-side --validate=strict`, which rejects unknown
// fields.
func apply(ctx context.Context, t *testing.T, cluster *testenv.Cluster, objects ...*unstructured.Unstructured) {
	t.Helper()
	makeNamespace(ctx, t, cluster)
	for _, object := range objects {
		if err := applyOne(ctx, cluster, object); err != nil {
			t.Fatalf("applying %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

// applyOne applies one object. Like helm, it uses the release's namespace if the object has none.
func applyOne(ctx context.Context, cluster *testenv.Cluster, object *unstructured.Unstructured) error {
	return testenv.Apply(ctx, cluster.Config(), namespace, object)
}

func TestManifestsApply(t *testing.T) {
	ctx := within(t, time.Minute)
	lab := shared.Cluster("lab")
	for _, dir := range []string{remoteDir, sidecarDir, filesDir, deploymentDir} {
		apply(ctx, t, lab, render(t, dir)...)
	}
	// token.yaml is not part of the kustomization. It is meant for `kubectl apply -f`.
	text, err := os.ReadFile(remoteDir + "/token.yaml")
	testenv.Must(t, err)
	var token unstructured.Unstructured
	if err := yaml.UnmarshalStrict(text, &token.Object); err != nil {
		t.Fatalf("reading token.yaml: %v", err)
	}
	apply(ctx, t, lab, &token)
	for _, name := range []string{"keystone-api", "fernetcast"} {
		deployment, err := lab.Client().AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		testenv.Must(t, err)
		// Check the object as the API server decoded it.
		container(t, &deployment.Spec.Template.Spec)
		if mode := volume(t, &deployment.Spec.Template.Spec).Secret.DefaultMode; mode == nil || *mode != 0o444 {
			t.Errorf("%s: the kubeconfigs' mode is not 0444", name)
		}
	}

	wrong := render(t, remoteDir)[0]
	wrong.Object["automountToken"] = false
	if err := applyOne(ctx, lab, wrong); err == nil {
		t.Error("an unknown field was accepted, so this test can't detect a misspelled field")
	}
}
