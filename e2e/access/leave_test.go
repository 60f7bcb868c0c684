package access

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// revoked limits how long a token stays valid after its account is deleted. API servers cache valid
// tokens for 10 s.
const revoked = 15 * time.Second

// dfw is a remote of two main regions. When one of them runs leave, its token becomes invalid, but
// the other continues to push.
func TestLeave(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.runs("sjc")
	s.join("sjc", "dfw")
	// ord is like a former main region, which is now a standby of sjc but also has dfw as its
	// remote.
	s.join("sjc", "ord")
	s.join("ord", "dfw", "--from", "ord")
	stolen := s.client(s.entry("ord", "dfw"))

	s.says(s.exits(0, "--context", "ord", "leave", "dfw", "--from", "ord", "--dry-run").Stdout, "ServiceAccount fernetcast-ord")
	r := s.exits(0, "--context", "ord", "leave", "dfw", "--from", "ord", "--yes")
	left := time.Now()
	s.says(r.Stdout, "Removed dfw", "RoleBinding fernetcast-ord", "ServiceAccount fernetcast-ord")
	if s.entry("ord", "dfw") != nil {
		t.Error("the remote is still stored")
	}
	s.Until(func(ctx context.Context) error {
		_, err := stolen.CoreV1().Secrets(s.NS).Get(ctx, testenv.SecretName, metav1.GetOptions{})
		if !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("a request with the old token returned %v", err)
		}
		return nil
	})
	if took := time.Since(left); took > revoked {
		t.Errorf("the old token was rejected after %s, want at most %s", took, revoked)
	}
	rotation, err := s.cluster("sjc").Rotate(s.Ctx, s.NS, 7)
	s.Must(err)
	s.Until(func(ctx context.Context) error { return s.cluster("dfw").Holds(ctx, s.NS, rotation.Keys) })

	// Now the stored kubeconfig and the context with the same name are for different clusters.
	dfw := s.entry("sjc", "dfw")
	s.store("dfw", s.altered("dfw", func(c *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) {
		c.CertificateAuthorityData, c.Extensions, user.Token = s.cluster("iad").Config().CAData, nil, ""
	}))
	s.says(s.exits(2, "--context", "sjc", "leave", "dfw", "--yes").Stderr, "your context dfw is for a different cluster")
	s.store("dfw", dfw)
	s.says(s.exits(0, "--context", "sjc", "leave", "dfw", "--yes").Stdout, "Role fernetcast.", "keeps its keys")
	s.Must(s.cluster("dfw").Holds(s.Ctx, s.NS, rotation.Keys))
	s.says(s.exits(0, "--context", "sjc", "leave", "dfw", "--yes").Stdout, "Removed dfw")
	s.says(s.exits(1, "--context", "sjc", "leave", "nobody", "--yes").Stderr, "nothing is stored for nobody")
}

// client returns a client with the credentials in a kubeconfig.
func (s *stage) client(kubeconfig []byte) kubernetes.Interface {
	s.Helper()
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	s.Must(err)
	client, err := kubernetes.NewForConfig(cfg)
	s.Must(err)
	return client
}

// If a remote doesn't answer, leave changes nothing in the remote or the main region, unless
// --local removes what the main region has stored.
func TestLeaveDead(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	proxy, err := s.cluster("dfw").Proxy()
	s.Must(err)
	s.reach("dfw", proxy.URL())
	s.exits(0, "join", "dfw", "--remote-context", "dfw", "--server", proxy.URL(), "--yes", "--wait", "0")
	before := s.snapshot("sjc", "dfw")
	s.Must(proxy.Set(testenv.Hold))
	for _, flag := range []string{"--yes", "--dry-run"} {
		r := s.exits(1, "leave", "dfw", flag, "--request-timeout", "2s")
		s.says(r.Stderr, "nothing was changed: ", "timed out", "delete serviceaccount fernetcast-sjc", "leave dfw --local")
	}
	if after := s.snapshot("sjc", "dfw"); after != before {
		t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
	}
	s.Must(proxy.Set(testenv.Pass))
	plan := s.exits(0, "leave", "dfw", "--dry-run", "-o", "json").Stdout
	s.says(plan, `{"name":"dfw","plan":["delete with context dfw`, "ServiceAccount fernetcast-sjc", `"deleted":[]`)
	left := s.exits(0, "leave", "dfw", "--yes", "-o", "json").Stdout
	s.says(left, `"deleted":["RoleBinding fernetcast-sjc","ServiceAccount fernetcast-sjc","Role fernetcast"],"usedBy":""}`)

	s.exits(0, "join", "dfw", "--remote-context", "dfw", "--server", proxy.URL(), "--yes", "--wait", "0")
	s.Must(proxy.Set(testenv.Refuse))
	s.says(s.exits(0, "leave", "dfw", "--local", "--yes").Stdout, "Removed dfw")
	s.says(s.exits(1, "leave", "dfw", "--local", "--yes").Stderr, "nothing is stored for dfw")
}

// If the remote refuses a deletion, its kubeconfig stays in the main region, so that leave can be
// repeated.
func TestLeaveRefused(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "iad", "--wait", "0")
	joined := s.entry("sjc", "iad")
	gateway := s.gateways("iad")[0]
	gateway.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/serviceaccounts/fernetcast-sjc") {
				http.Error(w, "refused", http.StatusForbidden)
				return
			}
			honest.ServeHTTP(w, r)
		})
	})
	r := s.exits(1, "leave", "iad", "--yes")
	s.says(r.Stderr, "iad is still stored here", "deleting ServiceAccount fernetcast-sjc", "leave iad --local")
	if string(s.entry("sjc", "iad")) != string(joined) {
		t.Error("the stored kubeconfig was changed")
	}
	gateway.Spoil(nil)
	s.says(s.exits(0, "leave", "iad", "--yes").Stdout, "Deleted in the remote: ServiceAccount fernetcast-sjc, Role fernetcast.")
	if s.entry("sjc", "iad") != nil {
		t.Error("the remote is still stored")
	}
}

// Names and addresses don't identify a cluster, so leave and join get its identity from the cluster
// itself.
func TestWhichCluster(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	for _, remote := range []string{"dfw", "iad"} {
		s.join("sjc", remote, "--wait", "0")
	}
	joined := s.entry("sjc", "iad")
	for what, change := range map[string]func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo){
		"by kube-system": func(*clientcmdapi.Cluster, *clientcmdapi.AuthInfo) {},
		"by the token": func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) {
			c.Extensions, c.CertificateAuthorityData = nil, s.cluster("dfw").Config().CAData
		},
		"by the CA": func(c *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) { c.Extensions, user.Token = nil, "" },
	} {
		t.Run(what, func(t *testing.T) {
			s := *s
			s.T = t
			s.store("iad", s.altered("iad", change))
			defer s.store("iad", joined)
			before := s.snapshot("sjc", "dfw", "iad")
			for _, flags := range [][]string{{"--yes"}, {"--dry-run"}} {
				r := s.exits(2, append([]string{"leave", "iad", "--remote-context", "dfw"}, flags...)...)
				s.says(r.Stderr, "nothing was changed: your context dfw is for a different cluster", "--local")
			}
			if after := s.snapshot("sjc", "dfw", "iad"); after != before {
				t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
			}
		})
	}

	// A cluster can be stored under only one name, even with different addresses.
	before := s.snapshot("sjc", "dfw")
	proxy, err := s.cluster("dfw").Proxy()
	s.Must(err)
	for _, server := range []string{s.cluster("dfw").URL, proxy.URL()} {
		r := s.exits(2, "join", "dallas", "--remote-context", "dfw", "--server", server, "--yes")
		s.says(r.Stderr, "this cluster is already stored as dfw", "leave dfw --local, then fernetcast --namespace "+s.NS+" join dallas --remote-context dfw")
	}
	s.says(s.exits(2, "join", "dfw", "--remote-context", "iad", "--server", s.cluster("iad").URL, "--yes").Stderr, "this cluster is already stored as iad")
	if after := s.snapshot("sjc", "dfw"); after != before {
		t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
	}
	// The address of a stored cluster may change.
	s.exits(0, "join", "dfw", "--remote-context", "dfw", "--server", proxy.URL(), "--yes", "--wait", "0")

	// If a cluster is stored under two names, leave for one name must not break the other.
	s.store("dallas", s.entry("sjc", "dfw"))
	r := s.exits(0, "leave", "dallas", "--remote-context", "dfw", "--yes")
	s.says(r.Stdout, "Removed dallas. Its account stays, because dfw is the same cluster.")
	s.Must(s.read(s.client(s.entry("sjc", "dfw"))))

	s.exits(0, "leave", "dfw", "--local", "--yes")
	s.exits(0, "join", "dallas", "--remote-context", "dfw", "--server", s.cluster("dfw").URL, "--yes", "--wait", "0")
	s.says(s.exits(0, "push").Stdout, "dallas", "2 Synced")
	s.says(s.exits(0, "leave", "dallas", "--remote-context", "dfw", "--yes").Stdout, "ServiceAccount fernetcast-sjc")
}
