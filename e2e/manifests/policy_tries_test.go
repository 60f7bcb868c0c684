package manifests

import (
	"context"
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/ptr"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// tryAll makes every attempt with every kind of request: when the Secret doesn't exist, when it has
// only keys, and when other clients have added metadata of each kind to it. It uses dry runs, which
// go through the same admission checks. Finally, it deletes the Secret.
func tryAll(ctx context.Context, t *testing.T, cluster *testenv.Cluster, holder typedcorev1.SecretInterface, enforced bool) {
	t.Helper()
	check := func(state, way string, a attempt, err error) {
		if !enforced && err != nil {
			t.Errorf("%s, %s, without the policy: %s: %v, so its rejection by the policy would prove nothing", state, way, a.what, err)
		}
		if enforced && !refused(err, a.says) {
			t.Errorf("%s, %s: %s: %v, want the policy to reject it because of %q", state, way, a.what, err, a.says)
		}
	}
	ways := map[string]func(context.Context, typedcorev1.SecretInterface, *corev1.Secret, *corev1.Secret) error{
		"update": dryUpdate, "merge patch": dryMergePatch, "strategic merge patch": dryStrategicPatch,
	}
	remove(ctx, t, cluster)
	for _, a := range append(additions(), typed()...) {
		absent := secret(testenv.SecretName)
		a.change(absent)
		check("absent", "apply", a, dryApply(ctx, holder, absent))
	}
	putBare(ctx, t, cluster)
	present, err := holder.Get(ctx, testenv.SecretName, metav1.GetOptions{})
	testenv.Must(t, err)
	for _, a := range additions() {
		changed := present.DeepCopy()
		a.change(changed)
		check("bare", "apply", a, dryApply(ctx, holder, changed))
		for way, try := range ways {
			check("bare", way, a, try(ctx, holder, present, changed))
		}
	}
	remove(ctx, t, cluster)
	putShared(ctx, t, cluster)
	present, err = holder.Get(ctx, testenv.SecretName, metav1.GetOptions{})
	testenv.Must(t, err)
	for _, a := range append(additions(), changes()...) {
		changed := present.DeepCopy()
		a.change(changed)
		for way, try := range ways {
			check("shared", way, a, try(ctx, holder, present, changed))
		}
	}
	remove(ctx, t, cluster)
}

var dryRun = []string{metav1.DryRunAll}

func dryUpdate(ctx context.Context, secrets typedcorev1.SecretInterface, _, to *corev1.Secret) error {
	_, err := secrets.Update(ctx, to, metav1.UpdateOptions{DryRun: dryRun})
	return err
}

func dryMergePatch(ctx context.Context, secrets typedcorev1.SecretInterface, from, to *corev1.Secret) error {
	return dryPatch(ctx, secrets, types.MergePatchType, from, to, func(from, to []byte) ([]byte, error) {
		return jsonmergepatch.CreateThreeWayJSONMergePatch(from, to, from)
	})
}

func dryStrategicPatch(ctx context.Context, secrets typedcorev1.SecretInterface, from, to *corev1.Secret) error {
	return dryPatch(ctx, secrets, types.StrategicMergePatchType, from, to, func(from, to []byte) ([]byte, error) {
		return strategicpatch.CreateTwoWayMergePatch(from, to, corev1.Secret{})
	})
}

func dryPatch(ctx context.Context, secrets typedcorev1.SecretInterface, kind types.PatchType, from, to *corev1.Secret,
	diff func(from, to []byte) ([]byte, error),
) error {
	before, err := json.Marshal(from)
	if err != nil {
		return err
	}
	after, err := json.Marshal(to)
	if err != nil {
		return err
	}
	body, err := diff(before, after)
	if err != nil {
		return err
	}
	_, err = secrets.Patch(ctx, from.Name, kind, body, metav1.PatchOptions{DryRun: dryRun})
	return err
}

// dryApply sends s in a forced server-side apply, as a dry run.
func dryApply(ctx context.Context, secrets typedcorev1.SecretInterface, s *corev1.Secret) error {
	applied := s.DeepCopy()
	applied.TypeMeta, applied.ManagedFields = secret("").TypeMeta, nil
	body, err := json.Marshal(applied)
	if err != nil {
		return err
	}
	_, err = secrets.Patch(ctx, s.Name, types.ApplyPatchType, body,
		metav1.PatchOptions{DryRun: dryRun, FieldManager: "fernetcast", Force: ptr.To(true)})
	return err
}

func putBare(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	if _, err := cluster.Put(ctx, namespace, shared.Keys.NewRepository(3, 3)); err != nil {
		t.Fatal(err)
	}
}

// putShared creates a Secret to which other clients have added metadata of each kind.
func putShared(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	s := secret(testenv.SecretName)
	shareWith(ctx, t, cluster, s)
	if _, err := cluster.Client().CoreV1().Secrets(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// shareWith adds metadata of each kind to a Secret, as other clients could: an existing owner, a
// finalizer, a label, an annotation, and a main region's mark with the UID of another object.
func shareWith(ctx context.Context, t *testing.T, cluster *testenv.Cluster, s *corev1.Secret) {
	t.Helper()
	owners := cluster.Client().CoreV1().ConfigMaps(namespace)
	owner, err := owners.Get(ctx, "owner", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		owner, err = owners.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	}
	testenv.Must(t, err)
	s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
	s.Finalizers = []string{"example.com/hold"}
	label("application", "keystone")(s)
	annotation("example.com/note", "kept")(s)
	for name, value := range map[string]string{"": "dfw", "-term": "1", "-uid": nothing} {
		annotation("fernetcast/main"+name, value)(s)
	}
}

// remove deletes the Secret, even if it has finalizers.
func remove(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	secrets := cluster.Client().CoreV1().Secrets(namespace)
	_, err := secrets.Patch(ctx, testenv.SecretName, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err == nil {
		err = cluster.Delete(ctx, namespace)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// tryAccounts makes the same attempt with the names of different accounts, and checks that the
// policy limits only the right ones.
func tryAccounts(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	elsewhere := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "keystone"}}
	if _, err := cluster.Client().CoreV1().Namespaces().Create(ctx, elsewhere, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for account, limited := range map[string]bool{
		"system:serviceaccount:openstack:fernetcast":       true,
		"system:serviceaccount:openstack:fernetcast-sjc":   true,
		"system:serviceaccount:openstack:fernetcast-s.j.c": true,
		"system:serviceaccount:keystone:fernetcast":        true,
		"system:serviceaccount:keystone:fernetcast-sjc":    true,
		"system:serviceaccount:openstack:fernetcaster":     false,
		"system:serviceaccount:openstack:my-fernetcast":    false,
		"system:serviceaccount:openstack:keystone-api":     false,
		"system:serviceaccount:fernetcast:operator":        false,
		"fernetcast": false,
	} {
		for _, in := range []string{namespace, elsewhere.Name} {
			s := secret(testenv.SecretName)
			s.Namespace = in
			ownedByNothing(s)
			err := dryApply(ctx, as(t, cluster, account)(in), s)
			if limited != refused(err, "owner references") || !limited && err != nil {
				t.Errorf("%s in %s: %v, want it limited: %t", account, in, err, limited)
			}
		}
	}
}
