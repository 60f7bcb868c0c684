package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/fernetcast/fernetcast/e2e/testenv/kustomize"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// identity is the account of manifests/identity.
const identity = "fernetcast-identity"

var byIdentity = []string{"--identity", identity}

// identifies applies manifests/identity to a main, for the account that the test's run
// has, and its discovery.
func (s *stage) identifies(region string) {
	s.Helper()
	for _, dir := range []string{"../../manifests/identity", "../../manifests/identity/discovery"} {
		built, err := kustomize.Build(dir)
		s.must(err)
		for _, resource := range built.Resources() {
			object, err := resource.Map()
			s.must(err)
			o := &unstructured.Unstructured{Object: object}
			if o.GetNamespace() != "" {
				o.SetNamespace(s.ns)
			}
			if o.GetKind() == "RoleBinding" {
				o.Object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "name": "fernetcast-sidecar", "namespace": s.ns}}
			}
			s.must(testenv.Apply(s.ctx, s.cluster(region).Config(), s.ns, o))
		}
	}
}

// config is what trust prints for the API servers of a remote.
func (s *stage) config(region, remote string, flags ...string) []byte {
	s.Helper()
	args := append([]string{"--context", region, "trust", "--remote", remote, "-o", "config"}, flags...)
	return []byte(s.exits(0, args...).Stdout)
}

// trusts has a remote's API server trust a main, as trust prints it, and nobody else.
func (s *stage) trusts(remote, region string, flags ...string) {
	s.Helper()
	config := s.config(region, remote, append([]string{"--server", s.cluster(remote).URL}, flags...)...)
	s.must(s.cluster(remote).Trust(config))
	s.must(s.cluster(remote).Restart(s.ctx))
}

// minted is a token of the main, as a person with all rights there has one made.
func (s *stage) minted(region, of string, life time.Duration, audiences ...string) string {
	s.Helper()
	token, err := s.cluster(region).Request(s.ctx, metav1.ObjectMeta{Namespace: s.ns, Name: of}, life, audiences...)
	s.must(err)
	return token
}

// bearing is a client of a cluster that signs in with a token.
func (s *stage) bearing(region, token string) kubernetes.Interface {
	s.Helper()
	cfg := rest.AnonymousClientConfig(s.cluster(region).Config())
	cfg.BearerToken = token
	client, err := kubernetes.NewForConfig(cfg)
	s.must(err)
	return client
}

// read reads the Secret with the keys.
func (s *stage) read(client kubernetes.Interface) error {
	_, err := client.CoreV1().Secrets(s.ns).Get(s.ctx, testenv.SecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// accepts waits until a cluster accepts a token, or, with want, answers with that code.
func (s *stage) accepts(region, token string, want int) {
	s.Helper()
	client := s.bearing(region, token)
	s.until(func(context.Context) error {
		if got := codeOf(s.read(client)); got != want {
			return fmt.Errorf("%s answers with %d, want %d", region, got, want)
		}
		return nil
	})
}

func codeOf(err error) int {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &status):
		return int(status.Status().Code)
	}
	return 0
}

// synced waits until a run shows a remote as Synced.
func (s *stage) synced(address, remote string) {
	s.Helper()
	s.until(func(ctx context.Context) error {
		status, err := testenv.Statusz(ctx, address)
		if err != nil {
			return err
		}
		for _, r := range status.Remotes {
			if r.Name == remote && r.State == "Synced" {
				return nil
			}
		}
		return fmt.Errorf("%s is not Synced: %+v", remote, status.Remotes)
	})
}

// rotates rotates the main's keys and waits until the remotes hold them.
func (s *stage) rotates(region string, remotes ...string) {
	s.Helper()
	r, err := s.cluster(region).Rotate(s.ctx, s.ns, 7)
	s.must(err)
	for _, remote := range remotes {
		s.until(func(ctx context.Context) error { return s.cluster(remote).Holds(ctx, s.ns, r.Keys) })
	}
}

var tokenForm = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

// opened says what a dump of every Secret of a main's namespace opens in a remote: each
// kubeconfig in it, and each token, is tried.
func (s *stage) opened(region, remote string) (opened []string) {
	s.Helper()
	secrets, err := s.cluster(region).Client().CoreV1().Secrets(s.ns).List(s.ctx, metav1.ListOptions{})
	s.must(err)
	for _, secret := range secrets.Items {
		for name, value := range secret.Data {
			if cfg, err := clientcmd.RESTConfigFromKubeConfig(value); err == nil {
				cfg.Host = s.cluster(remote).URL
				client, err := kubernetes.NewForConfig(cfg)
				s.must(err)
				if s.read(client) == nil {
					opened = append(opened, secret.Name+"/"+name+" as a kubeconfig")
				}
			}
			for _, token := range tokenForm.FindAllString(string(value), -1) {
				if s.read(s.bearing(remote, token)) == nil {
					opened = append(opened, "a token in "+secret.Name+"/"+name)
				}
			}
		}
	}
	return opened
}

// The whole way: what a remote needs is printed and applied, the region let in without
// a credential, and nothing that is stored or shown opens it.
func TestKeyless(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	s.main("ord") // sjc is its remote, too: what renews itself there is no hindrance
	s.join("ord", "sjc", "--self-renew", "--wait", "0")
	refused := s.exits(1, s.joinArgs("sjc", "dfw", "--keyless", "--request-timeout", "2s")...)
	s.says(refused.Stderr, "the main makes no token of ServiceAccount "+s.ns+"/"+identity, "kubectl apply -k manifests/identity", "nothing was stored")
	s.identifies("sjc")
	refused = s.exits(1, s.joinArgs("sjc", "dfw", "--keyless", "--request-timeout", "2s")...)
	s.says(refused.Stderr, "dfw does not trust "+s.cluster("sjc").Issuer()+": fernetcast trust --remote dfw", "nothing was stored")
	if s.entry("sjc", "dfw") != nil {
		t.Error("a kubeconfig was stored that does not work")
	}
	s.trusts("dfw", "sjc")
	process, address := s.starts("sjc", append(byIdentity, "--log-level", "debug")...)
	var joined struct {
		Account, State string
		Expires        *time.Time
	}
	s.decode(s.join("sjc", "dfw", "--keyless", "-o", "json", "--request-timeout", "1m").Stdout, &joined)
	if user := "fernetcast-sjc:system:serviceaccount:" + s.ns + ":" + identity; joined.Account != user || joined.State != "Synced" || joined.Expires != nil {
		t.Errorf("the result is %+v", joined)
	}
	s.must(s.cluster("dfw").Holds(s.ctx, s.ns, keys))
	s.synced(address, "dfw")
	s.rotates("sjc", "dfw")

	s.says(s.exits(0, append([]string{"status"}, byIdentity...)...).Stdout, "1 Synced")
	s.says(s.exits(1, "status").Stdout, "Misconfigured", "give --identity")
	s.ends(s.check(0, append([]string{"dfw"}, byIdentity...)...), "identity", "pass", "fernetcast-sjc:system:serviceaccount:")
	s.ends(s.check(0, append([]string{"dfw"}, byIdentity...)...), "expiry", "pass", "no credentials are stored")
	s.ends(s.check(0, append([]string{"dfw"}, byIdentity...)...), "excess", "pass")
	s.ends(s.check(1, "dfw"), "kubeconfig", "fail", "give --identity")
	s.says(s.exits(0, "renew", "--all").Stdout, "dfw: kept: no credentials are stored")
	clusters, tokens := s.directory()
	s.says(s.exits(0, "renew", "--self", "--all", "--clusters", clusters, "--tokens", tokens).Stdout, "dfw: kept: no credentials are stored")
	s.exits(0, append([]string{"wait", "--settle", "0", "--timeout", "10s"}, byIdentity...)...)
	s.exits(0, append([]string{"push"}, byIdentity...)...)
	s.exits(0, append([]string{"promote", "sjc", "--yes"}, byIdentity...)...)

	if opened := s.opened("sjc", "dfw"); opened != nil {
		t.Errorf("dfw is opened by %v", opened)
	}
	s.join("sjc", "iad")
	if opened := s.opened("sjc", "iad"); len(opened) < 2 { // the search finds what there is
		t.Errorf("iad, which was let in with a token, is opened by %v", opened)
	}
	metrics, err := testenv.Get(s.ctx, "http://"+address+"/metrics")
	s.must(err)
	statusz, err := testenv.Get(s.ctx, "http://"+address+"/statusz")
	s.must(err)
	if found := tokenForm.FindString(process.Stderr.String() + process.Stdout.String() + string(metrics) + string(statusz)); found != "" {
		t.Errorf("a token is shown: %.20s…", found)
	}

	s.says(s.exits(0, "leave", "dfw", "--yes").Stdout, "dfw is taken out", "RoleBinding fernetcast-sjc-keyless", "take the entry out")
	s.accepts("dfw", s.minted("sjc", identity, time.Hour, s.cluster("dfw").URL), http.StatusForbidden)
}

// A token is good for one account, one cluster and an hour, and each other one is refused
// as of nobody.
func TestMisusedTokens(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.identifies("sjc")
	for _, remote := range []string{"dfw", "iad"} {
		s.trusts(remote, "sjc")
		r := s.exits(0, "trust", "--remote", remote, "--server", s.cluster(remote).URL, "-o", "rights")
		s.apply(remote, r.Stdout)
	}
	dfw, iad := s.cluster("dfw").URL, s.cluster("iad").URL
	for region, audience := range map[string]string{"dfw": dfw, "iad": iad} {
		s.accepts(region, s.minted("sjc", identity, time.Hour, audience), http.StatusOK)
	}
	account := metav1.ObjectMeta{Namespace: s.ns, Name: identity}
	made := func(issued, expires time.Duration) string {
		token, err := s.cluster("sjc").TokenFor(s.ctx, account, dfw, time.Now().Add(issued), time.Now().Add(expires))
		s.must(err)
		return token
	}
	for what, try := range map[string]struct{ at, token string }{
		"another audience":         {"dfw", s.minted("sjc", identity, time.Hour, "https://dfw.example.com:6443")},
		"the main's own audience":  {"dfw", s.minted("sjc", identity, time.Hour)},
		"two audiences":            {"dfw", s.minted("sjc", identity, time.Hour, dfw, iad)},
		"another account":          {"dfw", s.minted("sjc", "fernetcast-sidecar", time.Hour, dfw)},
		"a life of two hours":      {"dfw", s.minted("sjc", identity, 2*time.Hour, dfw)},
		"at another remote":        {"iad", s.minted("sjc", identity, time.Hour, dfw)},
		"at the main":              {"sjc", s.minted("sjc", identity, time.Hour, dfw)},
		"of a region not trusted":  {"dfw", s.foreign("ord", dfw)},
		"replayed when it expired": {"dfw", made(-time.Hour, -5*time.Minute)},
		"not good yet":             {"dfw", made(5*time.Minute, 50*time.Minute)},
	} {
		if code := codeOf(s.read(s.bearing(try.at, try.token))); code != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", what, code)
		}
	}
	// The same, made by hand, is good: what is refused above is refused for what it says.
	if code := codeOf(s.read(s.bearing("dfw", made(-time.Minute, 50*time.Minute)))); code != http.StatusOK {
		t.Errorf("a token that is as it should be: %d", code)
	}
	// Nor does it open more there than the one Secret.
	thief := s.bearing("dfw", s.minted("sjc", identity, time.Hour, dfw))
	if _, err := thief.CoreV1().Secrets(s.ns).List(s.ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("all Secrets: %v", err)
	}
	if err := s.ask(thief, identity, time.Hour); !apierrors.IsForbidden(err) {
		t.Errorf("a token of the remote's: %v", err)
	}
	_, err := s.cluster("dfw").Put(s.ctx, s.ns, shared.Keys.NewRepository(3, 3))
	s.must(err)
	secret, err := thief.CoreV1().Secrets(s.ns).Get(s.ctx, testenv.SecretName, metav1.GetOptions{})
	s.must(err)
	secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "x", UID: "7"}}
	if _, err := thief.CoreV1().Secrets(s.ns).Update(s.ctx, secret, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("manifests/remote/policy does not hold for it: %v", err)
	}
}

// foreign is a token of another cluster, with an account of the same name.
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
		s.must(yaml.Unmarshal([]byte(document), &object.Object))
		if len(object.Object) > 0 {
			err := testenv.Apply(s.ctx, s.cluster(region).Config(), s.ns, object)
			if !apierrors.IsConflict(err) { // else a join has made the policy already
				s.must(err)
			}
		}
	}
}

// A kubeconfig cannot have a token made that is good at the main, and no request of it
// is sent anywhere.
func TestMintsNoTokenForTheMain(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.identifies("sjc")
	for server, says := range map[string]string{
		s.cluster("sjc").Issuer():                    "the main's own API server would accept it",
		"https://kubernetes.default.svc":             "each cluster's own name for itself",
		"https://kubernetes.default.svc.example.com": "each cluster's own name for itself",
	} {
		dir := t.TempDir()
		kubeconfig := fmt.Sprintf(`{"clusters": [{"name": "x", "cluster": {"server": %q}}], "users": [{"name": "x", "user": {}}],
			"contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}], "current-context": "x"}`, server)
		s.must(testenv.WriteFile(dir, "x.yaml", []byte(kubeconfig)))
		r := s.exits(1, append([]string{"status", "--clusters", dir, "-o", "json"}, byIdentity...)...)
		s.says(r.Stdout, `"Failed"`, says)
	}
}

// A rotation costs a remote without credentials no request more than one with them, and
// the main no token.
func TestKeylessCostsNoRequest(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.identifies("sjc")
	gateways := map[string]*testenv.Gateway{}
	for _, remote := range []string{"dfw", "iad"} {
		gateway, err := s.cluster(remote).Gateway()
		s.must(err)
		gateways[remote] = gateway
	}
	s.must(s.cluster("dfw").Trust(s.config("sjc", "dfw", "--server", gateways["dfw"].URL())))
	s.must(s.cluster("dfw").Restart(s.ctx))
	s.apply("dfw", s.exits(0, "trust", "--remote", "dfw", "--server", gateways["dfw"].URL(), "-o", "rights").Stdout)
	built, err := program()
	s.must(err)
	site, err := shared.Site(s.ctx, built, s.cluster("sjc"), s.ns)
	s.must(err)
	keyless, err := s.cluster("dfw").KeylessKubeconfig(s.ns, gateways["dfw"].URL())
	s.must(err)
	s.must(testenv.WriteFile(site.Clusters, "dfw.yaml", keyless))
	s.must(site.Join(s.ctx, s.cluster("iad"), testenv.Access{Server: gateways["iad"].URL()}))
	_, address := site.StartRun(t, append(byIdentity, "--resync", "1h")...)
	s.synced(address, "dfw")
	s.synced(address, "iad")
	minted := s.tokensMade("sjc")
	before := map[string]map[string]int{"dfw": count(gateways["dfw"]), "iad": count(gateways["iad"])}
	const rotations = 20
	for range rotations {
		s.rotates("sjc", "dfw", "iad")
	}
	for remote, gateway := range gateways {
		after := count(gateway)
		if puts := after["PUT"] - before[remote]["PUT"]; puts != rotations {
			t.Errorf("%s: %d PUTs for %d rotations", remote, puts, rotations)
		}
		if total, puts := after["all"]-before[remote]["all"], after["PUT"]-before[remote]["PUT"]; total != puts {
			t.Errorf("%s: %d requests for %d rotations", remote, total, rotations)
		}
	}
	if more := s.tokensMade("sjc") - minted; more != 0 {
		t.Errorf("%d tokens were made for %d rotations", more, rotations)
	}
}

// count counts the requests that came to a gateway, by method.
func count(g *testenv.Gateway) map[string]int {
	counts := map[string]int{}
	for _, r := range g.Requests() {
		counts[r.Method]++
		counts["all"]++
	}
	return counts
}

var tokenRequests = regexp.MustCompile(`(?m)^apiserver_request_total\{.*resource="serviceaccounts".*subresource="token".*\} (\d+)$`)

// tokensMade is how many TokenRequests a cluster's API server has answered.
func (s *stage) tokensMade(region string) (n int) {
	s.Helper()
	text, err := s.cluster(region).Client().CoreV1().RESTClient().Get().AbsPath("/metrics").Do(s.ctx).Raw()
	s.must(err)
	for _, m := range tokenRequests.FindAllSubmatch(text, -1) {
		var one int
		s.must(json.Unmarshal(m[1], &one))
		n += one
	}
	if n == 0 {
		s.Fatal("the API server counts no TokenRequest")
	}
	return n
}
