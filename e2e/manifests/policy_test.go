package manifests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	policyDir  = remoteDir + "/policy"
	policyName = "fernetcast-remote"
	// victim is a ServiceAccount whose tokens the account in manifests/remote must not get.
	victim = "victim"
)

// TestTokenOfARemoteBecomesNoOther checks that the policy prevents a stolen token of the account in
// manifests/remote from being used to get another ServiceAccount's token. First, it shows that this
// works without the policy, and that the API server then accepts every change that the policy must
// reject.
func TestTokenOfARemoteBecomesNoOther(t *testing.T) {
	ctx := within(t, 5*time.Minute)
	remote := startRegions(ctx, t, "dfw").Cluster("dfw")
	controllers, err := remote.StartControllers(ctx,
		"garbage-collector-controller", "serviceaccount-token-controller", "validatingadmissionpolicy-status-controller")
	testenv.Must(t, err)
	apply(ctx, t, remote, withoutPolicy(t)...)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: victim}}
	if _, err := remote.Client().CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	holder := signedIn(ctx, t, remote, "fernetcast").CoreV1().Secrets(namespace)

	if _, err := remote.Put(ctx, namespace, shared.Keys.NewRepository(3, 3)); err != nil {
		t.Fatal(err)
	}
	victims, err := escalate(ctx, holder)
	if err != nil {
		t.Fatalf("without the policy: %v\n%s", err, controllers.Stderr.Tail(20))
	}
	if who := whoHas(ctx, t, remote, victims); who != "system:serviceaccount:"+namespace+":"+victim {
		t.Fatalf("without the policy, the token belongs to %s", who)
	}
	tryAll(ctx, t, remote, holder, false)

	enforcePolicy(ctx, t, remote)
	tryAll(ctx, t, remote, holder, true)
	tryAccounts(ctx, t, remote)
	if _, err := remote.Put(ctx, namespace, shared.Keys.NewRepository(3, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := escalate(ctx, holder); !refused(err, "owner references") {
		t.Errorf("becoming the victim: %v, want the policy to reject its first step", err)
	}
	// If someone else deletes the Secret, that must not help the attacker.
	testenv.Must(t, remote.Delete(ctx, namespace))
	if _, err := escalate(ctx, holder); !refused(err, "type Opaque") {
		t.Errorf("becoming the victim without a Secret: %v, want the policy to reject it", err)
	}
	checkTypes(ctx, t, remote)
}

// The policy is cluster-scoped, so it doesn't change if kustomize sets another namespace.
func TestPolicyIsOfNoNamespace(t *testing.T) {
	want := render(t, policyDir)
	var got []*unstructured.Unstructured
	for _, object := range render(t, "testdata/elsewhere") {
		switch object.GetNamespace() {
		case "keystone":
		case "":
			got = append(got, object)
		default:
			t.Errorf("%s %s is left in the namespace %s", object.GetKind(), object.GetName(), object.GetNamespace())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("another namespace changes the policy (-want +got):\n%s", diff)
	}
}

// startRegions starts separate clusters for a test of the policy. In a shared cluster, the policy
// would keep the account fernetcast-operator of other tests from promoting.
func startRegions(ctx context.Context, t *testing.T, names ...string) *testenv.Env {
	t.Helper()
	env, err := testenv.Open(ctx, os.Stderr)
	testenv.Must(t, err)
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Error(err)
		}
	})
	testenv.Must(t, env.Start(ctx, names...))
	for _, cluster := range env.Clusters() {
		makeNamespace(ctx, t, cluster)
	}
	return env
}

// withoutPolicy returns manifests/remote without the policy.
func withoutPolicy(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	policy := map[string]bool{}
	for _, object := range render(t, policyDir) {
		policy[object.GetKind()] = true
	}
	var rest []*unstructured.Unstructured
	all := render(t, remoteDir)
	for _, object := range all {
		if !policy[object.GetKind()] {
			rest = append(rest, object)
		}
	}
	if len(all) != len(rest)+2 {
		t.Fatalf("manifests/remote has %d objects, and without the policy and its binding %d", len(all), len(rest))
	}
	return rest
}

// enforcePolicy applies the policy and waits until the API server enforces it.
func enforcePolicy(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	apply(ctx, t, cluster, render(t, policyDir)...)
	secrets := as(t, cluster, "system:serviceaccount:"+namespace+":fernetcast")
	err := until(ctx, func(ctx context.Context) error {
		probe := secret("probe")
		probe.Finalizers = []string{"example.com/probe"}
		_, err := secrets(namespace).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !refused(err, "finalizers") {
			return fmt.Errorf("the policy rejects nothing yet: %v", err)
		}
		return nil
	})
	testenv.Must(t, err)
}

// as returns clients of an administrator with the given name. Because an administrator has all
// permissions, only the policy can reject their requests.
func as(t *testing.T, cluster *testenv.Cluster, name string) func(namespace string) typedcorev1.SecretInterface {
	t.Helper()
	config := cluster.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: []string{"system:masters"}}
	client, err := kubernetes.NewForConfig(config)
	testenv.Must(t, err)
	return client.CoreV1().Secrets
}

// refused reports whether err means that the policy rejected the request, with words in its
// message.
func refused(err error, words string) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "manifests/remote/policy") &&
		strings.Contains(err.Error(), words)
}

// escalate turns the Secret into one with the victim's token, and returns that token. It needs only
// the permissions of the account in manifests/remote.
func escalate(ctx context.Context, secrets typedcorev1.SecretInterface) (token string, err error) {
	present, err := secrets.Get(ctx, testenv.SecretName, metav1.GetOptions{})
	switch {
	case err == nil:
		ownedByNothing(present)
		if _, err := secrets.Update(ctx, present, metav1.UpdateOptions{}); err != nil {
			return "", fmt.Errorf("setting an owner: %w", err)
		}
	case !apierrors.IsNotFound(err):
		return "", err
	}
	made := secret(testenv.SecretName)
	made.Type, made.Data, made.ResourceVersion = corev1.SecretTypeServiceAccountToken, nil, "1"
	tokenOfVictim(made)
	var answer error
	err = until(ctx, func(ctx context.Context) error { // wait, because the garbage collector takes a moment
		if _, answer = applySecret(ctx, secrets, made); apierrors.IsConflict(answer) {
			return answer
		}
		return nil
	})
	if err := errors.Join(err, answer); err != nil {
		return "", fmt.Errorf("creating the Secret as a token: %w", err)
	}
	err = until(ctx, func(ctx context.Context) error {
		filled, err := secrets.Get(ctx, testenv.SecretName, metav1.GetOptions{})
		if err == nil && len(filled.Data[corev1.ServiceAccountTokenKey]) == 0 {
			err = errors.New("the Secret has no token")
		}
		if err == nil {
			token = string(filled.Data[corev1.ServiceAccountTokenKey])
		}
		return err
	})
	return token, err
}

// whoHas returns the user to whom a token belongs, according to the API server.
func whoHas(ctx context.Context, t *testing.T, cluster *testenv.Cluster, token string) string {
	t.Helper()
	config := rest.AnonymousClientConfig(cluster.Config())
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	testenv.Must(t, err)
	review, err := client.AuthenticationV1().SelfSubjectReviews().
		Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("identifying the token's user: %v", err)
	}
	return review.Status.UserInfo.Username
}

// checkTypes fails the test if the API server's own type check of the policy's expressions reports
// warnings.
func checkTypes(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	err := until(ctx, func(ctx context.Context) error {
		policy, err := cluster.Client().AdmissionregistrationV1().ValidatingAdmissionPolicies().
			Get(ctx, policyName, metav1.GetOptions{})
		if err == nil && (policy.Status.TypeChecking == nil || policy.Status.ObservedGeneration != policy.Generation) {
			err = errors.New("the types of the expressions were not checked")
		}
		if err != nil {
			return err
		}
		for _, warning := range policy.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("%s: %s", warning.FieldRef, warning.Warning)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
