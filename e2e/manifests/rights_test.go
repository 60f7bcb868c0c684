package manifests

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// token requests a token for a ServiceAccount, as `kubectl create token` does.
func token(ctx context.Context, t *testing.T, cluster *testenv.Cluster, account string) string {
	t.Helper()
	request, err := cluster.Client().CoreV1().ServiceAccounts(namespace).
		CreateToken(ctx, account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating a token of %s: %v", account, err)
	}
	return request.Status.Token
}

// signedIn returns a client that authenticates with a ServiceAccount's token.
func signedIn(ctx context.Context, t *testing.T, cluster *testenv.Cluster, account string) kubernetes.Interface {
	t.Helper()
	config := rest.AnonymousClientConfig(cluster.Config())
	config.BearerToken = token(ctx, t, cluster, account)
	client, err := kubernetes.NewForConfig(config)
	testenv.Must(t, err)
	return client
}

// rules returns the permissions of the client's account in a namespace, according to the API
// server, as sorted JSON.
func rules(ctx context.Context, t *testing.T, client kubernetes.Interface, in string) []string {
	t.Helper()
	review, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: in},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("requesting the rules: %v", err)
	}
	if review.Status.Incomplete {
		t.Fatalf("the rules are incomplete: %s", review.Status.EvaluationError)
	}
	var all []string
	for _, rule := range review.Status.ResourceRules {
		all = append(all, asJSON(t, rule))
	}
	for _, rule := range review.Status.NonResourceRules {
		all = append(all, asJSON(t, rule))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	testenv.Must(t, err)
	return string(text)
}

func secretRule(t *testing.T, verbs ...string) string {
	t.Helper()
	return asJSON(t, authorizationv1.ResourceRule{
		Verbs: verbs, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{testenv.SecretName},
	})
}

// identityRule returns the permission to request tokens for the account in manifests/identity.
func identityRule(t *testing.T) string {
	t.Helper()
	return asJSON(t, authorizationv1.ResourceRule{
		Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{"fernetcast-identity"},
	})
}

func TestRightsAreTheseAndNoOthers(t *testing.T) {
	ctx := within(t, time.Minute)
	lab := shared.Cluster("lab")
	// Apply everything to one cluster, which is then like a main region that was a remote before.
	for _, dir := range []string{remoteDir, sidecarDir, deploymentDir, renewDir, identityDir, identityDir + "/discovery"} {
		apply(ctx, t, lab, render(t, dir)...)
	}
	nobody := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}
	_, err := lab.Client().CoreV1().ServiceAccounts(namespace).Create(ctx, nobody, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}

	read := secretRule(t, "get", "list", "watch")
	events := asJSON(t, authorizationv1.ResourceRule{
		Verbs: []string{"create"}, APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"},
	})
	keystones := asJSON(t, authorizationv1.ResourceRule{ // openstack-helm grants this; see testdata/keystone
		Verbs: []string{"get", "list"}, APIGroups: []string{"", "extensions", "batch", "apps"},
		Resources: []string{"services", "endpoints", "jobs", "pods"},
	})
	identity := identityRule(t)
	for account, want := range map[string][]string{
		"fernetcast":          {secretRule(t, "get", "list", "watch", "create", "update", "patch")},
		"keystone-api":        {read, events, keystones, identity},
		"fernetcast-source":   {read, events, identity},
		"fernetcast-identity": nil,
		"fernetcast-renew": {asJSON(t, authorizationv1.ResourceRule{
			Verbs: []string{"get", "update"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"fernetcast-tokens"},
		})},
	} {
		client := signedIn(ctx, t, lab, account)
		for in, more := range map[string][]string{namespace: want, metav1.NamespaceSystem: nil} {
			anybody := rules(ctx, t, signedIn(ctx, t, lab, "nobody"), in)
			want := slices.Sorted(slices.Values(slices.Concat(anybody, more)))
			if diff := cmp.Diff(want, rules(ctx, t, client, in)); diff != "" {
				t.Errorf("%s in %s (-want +got):\n%s", account, in, diff)
			}
		}
	}
}

// For a rule that is limited to names, RBAC's decision depends on the request. So this test makes
// real requests.
func TestRightsInUse(t *testing.T) {
	ctx := within(t, time.Minute)
	lab := shared.Cluster("lab")
	for _, dir := range []string{remoteDir, sidecarDir, deploymentDir} {
		apply(ctx, t, lab, render(t, dir)...)
	}
	_, err := lab.Client().CoreV1().Secrets(namespace).Create(ctx, secret("other"), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	for account, writes := range map[string]bool{"fernetcast": true, "keystone-api": false, "fernetcast-source": false} {
		t.Run(account, func(t *testing.T) {
			if err := lab.Delete(ctx, namespace); err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			secrets := signedIn(ctx, t, lab, account).CoreV1().Secrets(namespace)
			absent := secret(testenv.SecretName)
			absent.ResourceVersion = "1" // create the Secret, but never overwrite an existing one
			_, err := applySecret(ctx, secrets, absent)
			expect(t, "create by server-side apply", err, writes)
			if _, err := lab.Put(ctx, namespace, shared.Keys.NewRepository(3, 3)); err != nil {
				t.Fatal(err)
			}
			present, err := secrets.Get(ctx, testenv.SecretName, metav1.GetOptions{})
			expect(t, "get", err, true)
			_, err = secrets.Update(ctx, present, metav1.UpdateOptions{})
			expect(t, "update", err, writes)
			_, err = secrets.Create(ctx, secret(testenv.SecretName), metav1.CreateOptions{})
			expect(t, "create by POST", err, false)
			expect(t, "delete", secrets.Delete(ctx, testenv.SecretName, metav1.DeleteOptions{}), false)

			one := metav1.ListOptions{FieldSelector: "metadata.name=" + testenv.SecretName}
			all := metav1.ListOptions{}
			for name, options := range map[string]metav1.ListOptions{"of the one": one, "of all": all} {
				_, err = secrets.List(ctx, options)
				expect(t, "list "+name, err, name == "of the one")
				watcher, err := secrets.Watch(ctx, options)
				if err == nil {
					watcher.Stop()
				}
				expect(t, "watch "+name, err, name == "of the one")
			}

			_, err = secrets.Get(ctx, "other", metav1.GetOptions{})
			expect(t, "get another Secret", err, false)
			_, err = applySecret(ctx, secrets, secret("other"))
			expect(t, "apply to another Secret", err, false)
		})
	}
}

// expect checks that a request was allowed or, if allowed is false, got 403.
func expect(t *testing.T, what string, err error, allowed bool) {
	t.Helper()
	switch {
	case allowed && err != nil:
		t.Errorf("%s: %v, want it allowed", what, err)
	case !allowed && !apierrors.IsForbidden(err):
		t.Errorf("%s: %v, want 403", what, err)
	}
}

// secret returns a Secret with new keys.
func secret(name string) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Data:       shared.Keys.NewRepository(2, 2),
	}
}

// applySecret sends a server-side apply, which is a PATCH.
func applySecret(ctx context.Context, secrets typedcorev1.SecretInterface, s *corev1.Secret) (*corev1.Secret, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return secrets.Patch(ctx, s.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "fernetcast"})
}
