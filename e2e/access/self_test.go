package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	account = "fernetcast-sjc"
	ninety  = 90 * 24 * time.Hour
)

// ask uses the client by to request a token for the ServiceAccount whose name is in of.
func (s *stage) ask(by kubernetes.Interface, of string, life time.Duration) error {
	_, err := by.CoreV1().ServiceAccounts(s.NS).CreateToken(s.Ctx, of, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(life / time.Second))},
	}, metav1.CreateOptions{})
	return err
}

// forbids waits until an API server rejects a request. It retries, because a new policy takes about
// a second to take effect.
func (s *stage) forbids(what string, try func() error) {
	s.Helper()
	s.Until(func(context.Context) error {
		if err := try(); !apierrors.IsForbidden(err) {
			return fmt.Errorf("%s: %w", what, cmp.Or(err, errors.New("allowed")))
		}
		return nil
	})
}

// patch uses the client by to change the ServiceAccount whose name is in of.
func (s *stage) patch(by kubernetes.Interface, of, change string) error {
	_, err := by.CoreV1().ServiceAccounts(s.NS).Patch(s.Ctx, of, types.MergePatchType, []byte(change), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// directory mounts the stored kubeconfigs and tokens, as in the pod of the CronJob in
// manifests/renew.
func (s *stage) directory() (clusters, tokens string) {
	s.Helper()
	clusters, tokens = s.TempDir(), s.TempDir()
	s.cluster("sjc").Mount(s.T, s.NS, clustersSecret, clusters, 0o600)
	s.cluster("sjc").Mount(s.T, s.NS, "fernetcast-tokens", tokens, 0o600)
	return clusters, tokens
}

// With renew --self, each token is used to request the next one, and run loads the new token
// without a restart. Only the stored tokens are written.
func TestRenewSelf(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	address := s.runs("sjc")
	s.join("sjc", "dfw", "--self-renew", "--ttl", "1000h")
	clusters, tokens := s.directory()
	s.says(s.exits(0, "renew", "--self", "--clusters", clusters, "--tokens", tokens).Stdout, "dfw: kept")
	entry, before := s.entry("sjc", "dfw"), s.expires(address)
	for range 3 { // each token is used to request the next one
		s.says(s.exits(0, "renew", "--self", "--all", "--ttl", "900h", "--clusters", clusters, "--tokens", tokens).Stdout, "dfw: renewed, expires at "+time.Now().Add(900*time.Hour).UTC().Format("2006-01-02T"))
	}
	if string(s.entry("sjc", "dfw")) != string(entry) {
		t.Error("the kubeconfig was written")
	}
	s.Until(func(context.Context) error {
		if s.expires(address).Equal(before) {
			return errors.New("run still has the old token")
		}
		return nil
	})
	rotation, err := s.cluster("sjc").Rotate(s.Ctx, s.NS, 7)
	s.Must(err)
	s.Until(func(ctx context.Context) error { return s.cluster("dfw").Holds(ctx, s.NS, rotation.Keys) })
	s.ends(s.check(0, "dfw"), "excess", "pass")
	s.says(s.exits(1, "renew", "--self", "--all", "--ttl", "1001h", "--clusters", clusters, "--tokens", tokens).Stdout, "dfw: failed: it may not request its successor", "a longer lifetime than join or renew has set")

	// Another join deletes the stored token, which is no longer used, and leave deletes everything.
	s.join("sjc", "dfw")
	kept, err := s.cluster("sjc").Client().CoreV1().Secrets(s.NS).Get(s.Ctx, "fernetcast-tokens", metav1.GetOptions{})
	s.Must(err)
	if len(kept.Data) != 0 {
		t.Error("the stored token still exists after another join")
	}
	s.says(s.exits(0, "leave", "dfw", "--yes").Stdout, "Role fernetcast-sjc-renew")
}

// If the account may not request its own token in a remote, the output names the remote and the
// fix, and the old token stays.
func TestRenewSelfForbidden(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	clusters, tokens := s.directory()
	s.Until(func(context.Context) error {
		r, err := s.fernetcast.Run(s.Ctx, "renew", "--self", "--all", "--clusters", clusters, "--tokens", tokens)
		s.Must(err)
		if r.Stdout == "There are no remotes.\n" {
			return errors.New(r.Stdout)
		}
		s.says(r.Stdout, "dfw: failed: it may not request its successor", " join dfw --self-renew")
		if r.Code != 1 {
			t.Errorf("exit %d", r.Code)
		}
		return nil
	})
}

// A stolen ten-minute token can't be used to get another token, or to change what the account may
// do.
func TestStolenTokenIsNotRenewed(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0", "--self-renew")
	admin := s.cluster("dfw").Client()
	given := s.client(s.entry("sjc", "dfw"))
	short, err := admin.CoreV1().ServiceAccounts(s.NS).CreateToken(s.Ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(600))},
	}, metav1.CreateOptions{})
	s.Must(err)
	stolen := s.client(s.altered("dfw", func(_ *clientcmdapi.Cluster, a *clientcmdapi.AuthInfo) { a.Token = short.Status.Token }))
	s.forbids("90 days by the stolen one", func() error { return s.ask(stolen, account, ninety) })
	s.forbids("ten minutes by the stolen one", func() error { return s.ask(stolen, account, 10*time.Minute) })
	s.forbids("its id by the stolen one", func() error {
		return s.patch(stolen, account, `{"metadata":{"annotations":{"fernetcast/token-ids":"x"}}}`)
	})
	s.forbids("more than was given", func() error { return s.ask(given, account, ninety+time.Hour) })
	s.forbids("another account's", func() error { return s.ask(given, "default", 10*time.Minute) })
	s.forbids("a longer life", func() error {
		return s.patch(given, account, `{"metadata":{"annotations":{"fernetcast/token-seconds":"99999999"}}}`)
	})
	s.forbids("a label", func() error {
		return s.patch(given, account, `{"metadata":{"labels":{"app.kubernetes.io/name":null}}}`)
	})
	s.forbids("an owner", func() error {
		return s.patch(given, account, `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"7"}]}}`)
	})
	s.forbids("three ids", func() error {
		return s.patch(given, account, `{"metadata":{"annotations":{"fernetcast/token-ids":"a,b,c"}}}`)
	})
	_, err = given.CoreV1().ServiceAccounts(s.NS).CreateToken(s.Ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: "keystone-fernet-keys"}},
	}, metav1.CreateOptions{})
	if err == nil {
		t.Error("a token that is bound to an object was issued")
	}
	s.Must(s.ask(given, account, ninety))
}
