package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/fernetcast/fernetcast/manifests"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Names of objects in manifests/remote. All main regions share the Role and the policy. Each has
// its own account and RoleBinding, which adapt names after the region.
const (
	roleName   = "fernetcast"
	policyName = "fernetcast-remote"
)

// placeholder is replaced with the account's name in manifests/remote/self-renew.
const placeholder = "fernetcast-REGION"

// rights returns the objects of manifests/remote for an account, namespace, and Secret, in the
// order to apply them. The policies are cluster-scoped.
func rights(account, namespace, secret string) ([]*unstructured.Unstructured, error) {
	return objects(account, namespace, secret, "serviceaccount.yaml", "role.yaml", "policy/policy.yaml")
}

// selfRights returns the objects that let the account request its own next token. The policies come
// first, so that the permission is never unrestricted.
func selfRights(account, namespace string) ([]*unstructured.Unstructured, error) {
	return objects(account, namespace, "", "self-renew/policy.yaml", "self-renew/role.yaml")
}

func objects(account, namespace, secret string, files ...string) (all []*unstructured.Unstructured, err error) {
	for _, file := range files {
		text, err := manifests.Remote.ReadFile("remote/" + file)
		if err != nil {
			return nil, err
		}
		text = bytes.ReplaceAll(text, []byte(placeholder), []byte(account))
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), len(text))
		for {
			object := &unstructured.Unstructured{}
			if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("reading manifests/remote/%s: %w", file, err)
			}
			adapt(object, account, namespace, secret)
			all = append(all, object)
		}
	}
	return all, nil
}

// adapt renames an object of manifests/remote for an account, namespace, and Secret. It also sets
// the label that kustomize would add.
func adapt(object *unstructured.Unstructured, account, namespace, secret string) {
	object.SetLabels(map[string]string{"app.kubernetes.io/name": "fernetcast"})
	if object.GetNamespace() != "" {
		object.SetNamespace(namespace)
	}
	switch {
	case object.GetName() != roleName: // self-renew and the policies have their own names
	case object.GetKind() == "Role": // all main regions share it
		object.SetName(RoleOf(secret))
		for _, rule := range object.Object["rules"].([]any) {
			rule.(map[string]any)["resourceNames"] = []any{secret}
		}
	default:
		object.SetName(account)
	}
	if object.GetKind() == "RoleBinding" {
		if secret != "" { // otherwise it belongs to self-renew, which names its own Role
			object.Object["roleRef"].(map[string]any)["name"] = RoleOf(secret)
		}
		object.Object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": namespace}}
	}
}

// apply uses server-side apply, so fields that others have set stay.
func apply(ctx context.Context, apis *setup.APIs, object *unstructured.Unstructured) error {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	_, err := apis.Dynamic.Resource(plural).Namespace(object.GetNamespace()).Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}
