package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/manifests"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
)

// The objects of manifests/remote: the Role is one for all mains, an account and a
// RoleBinding are each main's own.
const (
	roleName   = "fernetcast"
	policyName = "fernetcast-remote"
)

// Rights are the objects that a main needs in a remote, in the order in which they
// are to be applied: those of manifests/remote, for that account, namespace and
// Secret. The last two are the policy's, which is of no namespace.
func Rights(account, namespace, secret string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, file := range []string{"remote/serviceaccount.yaml", "remote/role.yaml", "remote/policy/policy.yaml"} {
		text, err := manifests.Remote.ReadFile(file)
		if err != nil {
			return nil, err
		}
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), len(text))
		for {
			object := &unstructured.Unstructured{}
			if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("reading manifests/%s: %w", file, err)
			}
			adapt(object, account, namespace, secret)
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// adapt makes an object of manifests/remote that of one account. It sets what
// kustomize sets there, too.
func adapt(object *unstructured.Unstructured, account, namespace, secret string) {
	object.SetLabels(map[string]string{"app.kubernetes.io/name": "fernetcast"})
	if object.GetNamespace() != "" {
		object.SetNamespace(namespace)
	}
	switch object.GetKind() {
	case "ServiceAccount":
		object.SetName(account)
	case "Role":
		for _, rule := range object.Object["rules"].([]any) {
			rule.(map[string]any)["resourceNames"] = []any{secret}
		}
	case "RoleBinding":
		object.SetName(account)
		object.Object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": namespace}}
	}
}

// Apply applies one object by server-side apply. What others have set in it
// beside these fields stays.
func Apply(ctx context.Context, apis *kube.APIs, object *unstructured.Unstructured) error {
	data, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = resource(apis, object).Patch(ctx, object.GetName(), "application/apply-patch+yaml", data,
		metav1.PatchOptions{FieldManager: manager, Force: ptr.To(true)})
	return err
}

func resource(apis *kube.APIs, object *unstructured.Unstructured) dynamic.ResourceInterface {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	if namespace := object.GetNamespace(); namespace != "" {
		return apis.Dynamic.Resource(plural).Namespace(namespace)
	}
	return apis.Dynamic.Resource(plural)
}
