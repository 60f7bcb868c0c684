package manifests

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	selfRenewDir = remoteDir + "/self-renew"
	// ofRegion is the account of a main region, with the name that join gives it.
	ofRegion = "fernetcast-sjc"
)

// selfRenew returns manifests/remote/self-renew for the account of a main region.
func selfRenew(t *testing.T, account string) (objects []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range render(t, selfRenewDir) {
		text, err := object.MarshalJSON()
		testenv.Must(t, err)
		named := &unstructured.Unstructured{}
		testenv.Must(t, named.UnmarshalJSON(bytes.ReplaceAll(text, []byte("fernetcast-REGION"), []byte(account))))
		objects = append(objects, named)
	}
	return objects
}

// TestPoliciesInEveryRole gives one cluster all roles in docs/install.md. It is a main region with
// a sidecar, a deployment, an identity, a rotation gate, and renewal. It is also a remote that
// renews its own tokens. Each account must be able to do its work. Policies only reject, so the
// same work is possible with any subset of these roles.
func TestPoliciesInEveryRole(t *testing.T) {
	ctx := within(t, 5*time.Minute)
	cluster := startRegions(ctx, t, "dfw").Cluster("dfw")
	_, err := cluster.StartControllers(ctx, "validatingadmissionpolicy-status-controller")
	testenv.Must(t, err)
	apply(ctx, t, cluster, withoutPolicy(t)...)
	for _, dir := range []string{sidecarDir, deploymentDir, renewDir, identityDir, gateDir} {
		apply(ctx, t, cluster, render(t, dir)...)
	}
	enforcePolicy(ctx, t, cluster)
	_, err = cluster.Client().CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: ofRegion}}, metav1.CreateOptions{})
	testenv.Must(t, err)
	apply(ctx, t, cluster, selfRenew(t, ofRegion)...)
	if _, err := cluster.Put(ctx, namespace, shared.Keys.NewRepository(3, 3)); err != nil {
		t.Fatal(err)
	}

	push := func(client kubernetes.Interface) error {
		s, err := client.CoreV1().Secrets(namespace).Get(ctx, testenv.SecretName, metav1.GetOptions{})
		if err == nil {
			annotation("fernetcast/term", "2")(s)
			_, err = client.CoreV1().Secrets(namespace).Update(ctx, s, metav1.UpdateOptions{})
		}
		return err
	}
	ask := func(of string, audiences ...string) func(kubernetes.Interface) error {
		return func(client kubernetes.Interface) error {
			_, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, of, &authenticationv1.TokenRequest{
				Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: ptr.To(int64(3600))},
			}, metav1.CreateOptions{})
			return err
		}
	}
	keep := func(client kubernetes.Interface) error {
		s, err := client.CoreV1().Secrets(namespace).Get(ctx, "fernetcast-tokens", metav1.GetOptions{})
		if err == nil {
			s.Data = map[string][]byte{"sjc": []byte("a-token")}
			_, err = client.CoreV1().Secrets(namespace).Update(ctx, s, metav1.UpdateOptions{})
		}
		return err
	}
	identity := ask("fernetcast-identity", "https://sjc.example.com:6443")
	for _, work := range []struct {
		account, name string
		do            func(kubernetes.Interface) error
	}{
		{"fernetcast", "push", push},
		{"fernetcast-renew", "store tokens of remotes", keep},
		{"fernetcast-source", "request a one-hour token", identity},
		{"keystone-api", "request a one-hour token", identity},
		{"keystone-fernet-rotate", "request a one-hour token", identity},
	} {
		if err := work.do(signedIn(ctx, t, cluster, work.account)); err != nil {
			t.Errorf("%s may not %s: %v", work.account, work.name, err)
		}
	}
	renewsItself(ctx, t, cluster, ask(ofRegion))
	renewalIsLimited(ctx, t, cluster)
}

// renewsItself checks that a registered token can request its successor, and that another token
// can't.
func renewsItself(ctx context.Context, t *testing.T, cluster *testenv.Cluster, ask func(kubernetes.Interface) error) {
	t.Helper()
	client := signedIn(ctx, t, cluster, ofRegion)
	err := until(ctx, func(context.Context) error {
		if err := ask(client); err == nil || !strings.Contains(err.Error(), "self-renew") {
			return fmt.Errorf("by an unregistered token: %v", err)
		}
		return nil
	})
	testenv.Must(t, err)
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	testenv.Must(t, err)
	id := review.Status.UserInfo.Extra["authentication.kubernetes.io/credential-id"][0][len("JTI="):]
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"fernetcast/token-ids":%q,"fernetcast/token-seconds":"3600"}}}`, id)
	_, err = cluster.Client().CoreV1().ServiceAccounts(namespace).Patch(ctx, ofRegion, types.MergePatchType, patch, metav1.PatchOptions{})
	testenv.Must(t, err)
	if err := until(ctx, func(context.Context) error { return ask(client) }); err != nil {
		t.Errorf("by a registered token: %v", err)
	}
}

// renewalIsLimited checks that only the account of manifests/renew may write data keys that aren't
// indices, that it may do so only in its own Secret, and that it may write nothing else there.
func renewalIsLimited(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	users := "system:serviceaccount:" + namespace + ":"
	named := func(name string) *corev1.Secret {
		s := secret(name)
		s.Data = map[string][]byte{"sjc": []byte("a-token")}
		return s
	}
	labeled := named("fernetcast-tokens")
	label("application", "keystone")(labeled)
	for _, try := range []struct {
		account string
		secret  *corev1.Secret
		says    string
	}{
		{"fernetcast-renew", named(testenv.SecretName), "numbers as data keys"},
		{"fernetcast-renew", labeled, "labels"},
		{"fernetcast-sjc", named("fernetcast-tokens"), "numbers as data keys"},
	} {
		if err := dryApply(ctx, as(t, cluster, users+try.account)(namespace), try.secret); !refused(err, try.says) {
			t.Errorf("%s writes %s: %v", try.account, try.secret.Name, err)
		}
	}
	checkTypes(ctx, t, cluster)
}
