package access

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// A keyless token is valid only for one account, in one cluster, and for one hour. API servers
// reject every other token with 401.
func TestMisusedTokens(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	s.identifies("sjc")
	for _, remote := range []string{"dfw", "iad"} {
		s.trusts(remote, "sjc")
		s.apply(remote, s.rights("sjc", remote))
	}
	dfw, iad := s.cluster("dfw").URL, s.cluster("iad").URL
	for region, audience := range map[string]string{"dfw": dfw, "iad": iad} {
		s.accepts(region, s.minted("sjc", identity, time.Hour, audience), http.StatusOK)
	}
	account := metav1.ObjectMeta{Namespace: s.NS, Name: identity}
	made := func(issued, expires time.Duration) string {
		token, err := s.cluster("sjc").TokenFor(s.Ctx, account, dfw, time.Now().Add(issued), time.Now().Add(expires))
		s.Must(err)
		return token
	}
	for what, try := range map[string]struct{ at, token string }{
		"another audience":           {"dfw", s.minted("sjc", identity, time.Hour, "https://dfw.example.com:6443")},
		"the main region's audience": {"dfw", s.minted("sjc", identity, time.Hour)},
		"two audiences":              {"dfw", s.minted("sjc", identity, time.Hour, dfw, iad)},
		"another account":            {"dfw", s.minted("sjc", "fernetcast-sidecar", time.Hour, dfw)},
		"a lifetime of two hours":    {"dfw", s.minted("sjc", identity, 2*time.Hour, dfw)},
		"in another remote":          {"iad", s.minted("sjc", identity, time.Hour, dfw)},
		"in the main region":         {"sjc", s.minted("sjc", identity, time.Hour, dfw)},
		"from an untrusted region":   {"dfw", s.foreign("ord", dfw)},
		"replayed after its expiry":  {"dfw", made(-time.Hour, -5*time.Minute)},
		"not valid yet":              {"dfw", made(5*time.Minute, 50*time.Minute)},
	} {
		if code := codeOf(s.read(s.bearing(try.at, try.token))); code != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", what, code)
		}
	}
	// The same token with correct values is valid. This shows that the others are rejected because
	// of their values.
	if code := codeOf(s.read(s.bearing("dfw", made(-time.Minute, 50*time.Minute)))); code != http.StatusOK {
		t.Errorf("the correct token: %d", code)
	}
	// A valid token gives access only to the one Secret.
	thief := s.bearing("dfw", s.minted("sjc", identity, time.Hour, dfw))
	s.forbids("all Secrets", func() error {
		_, err := thief.CoreV1().Secrets(s.NS).List(s.Ctx, metav1.ListOptions{})
		return err
	})
	s.forbids("a token of the remote's", func() error { return s.ask(thief, identity, time.Hour) })
	_, err := s.cluster("dfw").Put(s.Ctx, s.NS, shared.Keys.NewRepository(3, 3))
	s.Must(err)
	s.forbids("an owner, by manifests/remote/policy", func() error {
		secret, err := thief.CoreV1().Secrets(s.NS).Get(s.Ctx, testenv.SecretName, metav1.GetOptions{})
		s.Must(err)
		secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "x", UID: "7"}}
		_, err = thief.CoreV1().Secrets(s.NS).Update(s.Ctx, secret, metav1.UpdateOptions{})
		return err
	})
}

// foreign returns a token from another region's cluster, for an account with the same name.
func (s *stage) foreign(region, audience string) string {
	s.Helper()
	s.identifies(region)
	return s.minted(region, identity, time.Hour, audience)
}

// apply applies a stream of YAML documents to a cluster.
func (s *stage) apply(region, text string) {
	s.Helper()
	for document := range strings.SplitSeq(text, "---\n") {
		object := &unstructured.Unstructured{}
		s.Must(yaml.Unmarshal([]byte(document), &object.Object))
		if len(object.Object) > 0 {
			err := testenv.Apply(s.Ctx, s.cluster(region).Config(), s.NS, object)
			if !apierrors.IsConflict(err) { // a conflict means that a join has already created the policy
				s.Must(err)
			}
		}
	}
}

// A kubeconfig can't make fernetcast request a token that the main region itself would accept.
// fernetcast doesn't even send a request to the server in the kubeconfig.
func TestMintsNoTokenForTheMain(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.identifies("sjc")
	for server, says := range map[string]string{
		s.cluster("sjc").Issuer():                    "the main region's own API server would accept it",
		"https://kubernetes.default.svc":             "every cluster uses this address for itself",
		"https://kubernetes.default.svc.example.com": "every cluster uses this address for itself",
	} {
		dir := t.TempDir()
		kubeconfig := fmt.Sprintf(`{"clusters": [{"name": "x", "cluster": {"server": %q}}], "users": [{"name": "x", "user": {}}],
			"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "current-context": "x"}`, server)
		s.Must(testenv.WriteFile(dir, "x.yaml", []byte(kubeconfig)))
		r := s.exits(1, append([]string{"status", "--clusters", dir, "-o", "json"}, byIdentity...)...)
		s.says(r.Stdout, `"Failed"`, says)
	}
}
