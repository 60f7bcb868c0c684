package access

import (
	"context"
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
)

// identity is the name of the ServiceAccount in manifests/identity.
const identity = "fernetcast-identity"

var byIdentity = []string{"--identity", identity}

// identifies applies manifests/identity and manifests/identity/discovery to a main region, for the
// account that run uses in the tests.
func (s *stage) identifies(region string) {
	s.Helper()
	for _, dir := range []string{"../../manifests/identity", "../../manifests/identity/discovery"} {
		built, err := kustomize.Build(dir)
		s.Must(err)
		for _, resource := range built.Resources() {
			object, err := resource.Map()
			s.Must(err)
			o := &unstructured.Unstructured{Object: object}
			if o.GetNamespace() != "" {
				o.SetNamespace(s.NS)
			}
			if o.GetKind() == "RoleBinding" {
				o.Object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "name": "fernetcast-sidecar", "namespace": s.NS}}
			}
			s.Must(testenv.Apply(s.Ctx, s.cluster(region).Config(), s.NS, o))
		}
	}
}

// config returns the API server configuration for a remote, as join prints it.
func (s *stage) config(region, remote string, flags ...string) []byte {
	s.Helper()
	return []byte(s.exits(0, s.keyless(region, remote, append(flags, "-o", "config")...)...).Stdout)
}

// keyless returns the arguments of a join without stored credentials. flags can override the
// remote's address.
func (s *stage) keyless(region, remote string, flags ...string) []string {
	return s.joinArgs(region, remote, append([]string{"--keyless"}, flags...)...)
}

// rights returns the objects for a remote's cluster, as join prints them.
func (s *stage) rights(region, remote string, flags ...string) string {
	s.Helper()
	all := s.exits(0, s.keyless(region, remote, append(flags, "-o", "yaml")...)...).Stdout
	_, all, _ = strings.Cut(all, "# For the cluster ")
	all, _, _ = strings.Cut(all, "# For the main region's cluster")
	return "# " + all
}

// trusts makes a remote's API server trust the tokens of one main region and no other, with the
// configuration that join prints.
func (s *stage) trusts(remote, region string, flags ...string) {
	s.Helper()
	config := s.config(region, remote, flags...)
	s.Must(s.cluster(remote).Trust(config))
	s.Must(s.cluster(remote).Restart(s.Ctx))
}

// minted requests a token for the ServiceAccount with the name in of, in the given main region.
// Only an administrator can do that for every account.
func (s *stage) minted(region, of string, life time.Duration, audiences ...string) string {
	s.Helper()
	token, err := s.cluster(region).Request(s.Ctx, metav1.ObjectMeta{Namespace: s.NS, Name: of}, life, audiences...)
	s.Must(err)
	return token
}

// bearing returns a client for a cluster that authenticates with the given token.
func (s *stage) bearing(region, token string) kubernetes.Interface {
	s.Helper()
	cfg := rest.AnonymousClientConfig(s.cluster(region).Config())
	cfg.BearerToken = token
	client, err := kubernetes.NewForConfig(cfg)
	s.Must(err)
	return client
}

// read reads the Secret with the keys, and returns only the error.
func (s *stage) read(client kubernetes.Interface) error {
	_, err := client.CoreV1().Secrets(s.NS).Get(s.Ctx, testenv.SecretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// accepts sends requests with this token to a cluster until the response has the status code want.
func (s *stage) accepts(region, token string, want int) {
	s.Helper()
	client := s.bearing(region, token)
	s.Until(func(context.Context) error {
		if got := codeOf(s.read(client)); got != want {
			return fmt.Errorf("%s returned %d, want %d", region, got, want)
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

// synced waits until run, which listens on address, shows a remote as Synced.
func (s *stage) synced(address, remote string) {
	s.Helper()
	s.Until(func(ctx context.Context) error {
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

// rotates rotates the main region's keys, and waits until the remotes have the new keys.
func (s *stage) rotates(region string, remotes ...string) {
	s.Helper()
	r, err := s.cluster(region).Rotate(s.Ctx, s.NS, 7)
	s.Must(err)
	for _, remote := range remotes {
		s.Until(func(ctx context.Context) error { return s.cluster(remote).Holds(ctx, s.NS, r.Keys) })
	}
}

var tokenForm = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)

// opened returns the names of all values in the Secrets of a main region's namespace that give
// access to a remote. It tries to use each value as a kubeconfig and as a token.
func (s *stage) opened(region, remote string) (opened []string) {
	s.Helper()
	secrets, err := s.cluster(region).Client().CoreV1().Secrets(s.NS).List(s.Ctx, metav1.ListOptions{})
	s.Must(err)
	for _, secret := range secrets.Items {
		for name, value := range secret.Data {
			if cfg, err := clientcmd.RESTConfigFromKubeConfig(value); err == nil {
				cfg.Host = s.cluster(remote).URL
				client, err := kubernetes.NewForConfig(cfg)
				s.Must(err)
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

// TestKeyless applies the objects that join prints for a remote, and joins the remote without
// credentials. Nothing that is stored or printed may give access to the remote.
func TestKeyless(t *testing.T) {
	s := newAlone(t)
	keys := s.main("sjc")
	s.main("ord") // sjc is also a remote of ord, whose policy for self-renewal must not interfere
	s.join("ord", "sjc", "--self-renew", "--wait", "0")
	refused := s.exits(1, s.joinArgs("sjc", "dfw", "--keyless", "--request-timeout", "5s")...)
	s.says(refused.Stderr, "the main region issues no token for ServiceAccount "+s.NS+"/"+identity, "kubectl --context sjc apply -k manifests/identity", "nothing was stored")
	s.identifies("sjc")
	refused = s.exits(1, s.joinArgs("sjc", "dfw", "--keyless", "--request-timeout", "5s")...)
	s.says(refused.Stderr, "dfw does not trust the main region's tokens: fernetcast --context sjc --namespace "+s.NS+" join dfw --remote-context dfw --keyless --server "+s.cluster("dfw").URL+" -o config", "nothing was stored")
	if s.entry("sjc", "dfw") != nil {
		t.Error("a kubeconfig that doesn't work was stored")
	}
	s.trusts("dfw", "sjc")
	process, address := s.starts("sjc", append(byIdentity, "--log-level", "debug")...)
	var joined struct {
		Account, State string
		Expires        *time.Time
	}
	s.decode(s.join("sjc", "dfw", "--keyless", "-o", "json", "--request-timeout", "1m").Stdout, &joined)
	if user := "fernetcast-sjc:system:serviceaccount:" + s.NS + ":" + identity; joined.Account != user || joined.State != "Synced" || joined.Expires != nil {
		t.Errorf("the result is %+v", joined)
	}
	s.Must(s.cluster("dfw").Holds(s.Ctx, s.NS, keys))
	s.synced(address, "dfw")
	s.rotates("sjc", "dfw")

	s.says(s.exits(0, append([]string{"status"}, byIdentity...)...).Stdout, "1 Synced")
	s.says(s.exits(1, "status").Stdout, "Misconfigured", "set --identity")
	s.ends(s.check(0, append([]string{"dfw"}, byIdentity...)...), "identity", "pass", "fernetcast-sjc:system:serviceaccount:")
	s.ends(s.check(0, append([]string{"dfw"}, byIdentity...)...), "expiry", "pass", "no credentials are stored")
	s.ends(s.check(0, append([]string{"dfw"}, byIdentity...)...), "excess", "pass")
	s.ends(s.check(1, "dfw"), "kubeconfig", "fail", " check dfw --identity fernetcast-identity")
	s.says(s.exits(0, "renew", "--all").Stdout, "dfw: kept: no credentials are stored")
	clusters, tokens := s.directory()
	s.says(s.exits(0, "renew", "--self", "--all", "--clusters", clusters, "--tokens", tokens).Stdout, "dfw: kept: no credentials are stored")
	s.exits(0, append([]string{"wait", "--settle", "0", "--timeout", "10s"}, byIdentity...)...)
	s.exits(0, append([]string{"push"}, byIdentity...)...)
	s.exits(0, append([]string{"promote", "sjc", "--yes"}, byIdentity...)...)

	if opened := s.opened("sjc", "dfw"); opened != nil {
		t.Errorf("stored values that give access to dfw: %v", opened)
	}
	s.join("sjc", "iad")
	if opened := s.opened("sjc", "iad"); len(opened) < 2 { // this shows that opened finds credentials
		t.Errorf("stored values that give access to iad, which was joined with a token: %v", opened)
	}
	metrics, err := testenv.Get(s.Ctx, "http://"+address+"/metrics")
	s.Must(err)
	statusz, err := testenv.Get(s.Ctx, "http://"+address+"/statusz")
	s.Must(err)
	if found := tokenForm.FindString(process.Stderr.String() + process.Stdout.String() + string(metrics) + string(statusz)); found != "" {
		t.Errorf("the output contains a token: %.20s…", found)
	}

	s.says(s.exits(0, "leave", "dfw", "--yes").Stdout, "Removed dfw", "RoleBinding fernetcast-sjc-keyless", "remove the entry")
	s.accepts("dfw", s.minted("sjc", identity, time.Hour, s.cluster("dfw").URL), http.StatusForbidden)
}
