package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/fernetcast/fernetcast/manifests"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Names of objects in manifests/remote. All main regions share the Role and the policy. Each main
// region has its own account and RoleBinding, which the function adapt names after the region.
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
	case object.GetKind() == "Role": // all main regions share the Role
		object.SetName(RoleOf(secret))
		for _, rule := range object.Object["rules"].([]any) {
			rule.(map[string]any)["resourceNames"] = []any{secret}
		}
	default:
		object.SetName(account)
	}
	if object.GetKind() == "RoleBinding" {
		if secret != "" { // without a Secret, the object belongs to self-renew, which names its own Role
			object.Object["roleRef"].(map[string]any)["name"] = RoleOf(secret)
		}
		object.Object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": namespace}}
	}
}

// apply uses server-side apply, so fields that others have set stay. If another manager has changed
// the spec of a cluster-scoped object, apply changes nothing and returns the fields that differ.
func apply(ctx context.Context, apis *setup.APIs, object *unstructured.Unstructured) (differ []string, err error) {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	client, opts := apis.Dynamic.Resource(plural).Namespace(object.GetNamespace()), metav1.ApplyOptions{FieldManager: manager, Force: true}
	present, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	if err == nil && object.GetNamespace() == "" && slices.ContainsFunc(present.GetManagedFields(), changedSpec) {
		opts.DryRun = []string{metav1.DryRunAll}
		wanted, err := client.Apply(ctx, object.GetName(), object, opts)
		if apierrors.IsInvalid(err) { // our change is incompatible with the other manager's
			return []string{"spec"}, nil
		}
		if err != nil {
			return nil, err
		}
		spec, _, _ := unstructured.NestedMap(present.Object, "spec")
		for field, value := range wanted.Object["spec"].(map[string]any) {
			if !reflect.DeepEqual(spec[field], value) {
				differ = append(differ, "spec."+mirror.Printable(field))
			}
		}
		slices.Sort(differ)
		return differ, nil
	}
	_, err = client.Apply(ctx, object.GetName(), object, opts)
	return nil, err
}

// changedSpec reports whether a manager other than join has set a field of the spec.
func changedSpec(m metav1.ManagedFieldsEntry) bool {
	return m.Manager != manager && m.FieldsV1 != nil && bytes.Contains(m.FieldsV1.GetRawBytes(), []byte(`"f:spec"`))
}
