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
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
)

// The objects of manifests/remote: the Role is one for all mains, an account and a
// RoleBinding are each main's own.
const (
	roleName   = "fernetcast"
	policyName = "fernetcast-remote"
)

// placeholder stands for a main's account in manifests/remote/self-renew.
const placeholder = "fernetcast-REGION"

// rights are the objects that a main needs in a remote, in the order in which they
// are to be applied: those of manifests/remote, for that account, namespace and
// Secret. The policies are of no namespace.
func rights(account, namespace, secret string) ([]*unstructured.Unstructured, error) {
	return objects(account, namespace, secret, "serviceaccount.yaml", "role.yaml", "policy/policy.yaml")
}

// selfRights are those by which the account asks for its own next token: the policies
// come first.
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

// adapt makes an object of manifests/remote that of one account. It sets what
// kustomize sets there, too.
func adapt(object *unstructured.Unstructured, account, namespace, secret string) {
	object.SetLabels(map[string]string{"app.kubernetes.io/name": "fernetcast"})
	if object.GetNamespace() != "" {
		object.SetNamespace(namespace)
	}
	if object.GetName() == roleName && object.GetKind() != "Role" { // the Role is one for all mains
		object.SetName(account)
	}
	if object.GetKind() == "Role" && object.GetName() == roleName {
		object.SetName(RoleOf(secret))
		for _, rule := range object.Object["rules"].([]any) {
			rule.(map[string]any)["resourceNames"] = []any{secret}
		}
	}
	if object.GetKind() == "RoleBinding" {
		if secret != "" { // else it is that of self-renew, of one account alone
			object.Object["roleRef"].(map[string]any)["name"] = RoleOf(secret)
		}
		object.Object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": namespace}}
	}
}

// apply applies one object by server-side apply. What others have set in it
// beside these fields stays.
func apply(ctx context.Context, apis *setup.APIs, object *unstructured.Unstructured) error {
	data, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = resource(apis, object).Patch(ctx, object.GetName(), "application/apply-patch+yaml", data,
		metav1.PatchOptions{FieldManager: manager, Force: ptr.To(true)})
	return err
}

func resource(apis *setup.APIs, object *unstructured.Unstructured) dynamic.ResourceInterface {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	if namespace := object.GetNamespace(); namespace != "" {
		return apis.Dynamic.Resource(plural).Namespace(namespace)
	}
	return apis.Dynamic.Resource(plural)
}
