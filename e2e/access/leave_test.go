package access

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// revoked is how long a token may be good after its account is gone: the API server
// knows a good token for 10 s.
const revoked = 15 * time.Second

// Two mains have let dfw in. One leaves: its token is refused, and the other goes on.
func TestLeave(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.runs("sjc")
	s.join("sjc", "dfw")
	// ord was the main before, and is one again later: until then it stands by.
	s.join("sjc", "ord")
	s.join("ord", "dfw", "--from", "ord")
	stolen := s.client(s.entry("ord", "dfw"))

	s.says(s.exits(0, "--context", "ord", "leave", "dfw", "--from", "ord", "--dry-run").Stdout, "ServiceAccount fernetcast-ord")
	r := s.exits(0, "--context", "ord", "leave", "dfw", "--from", "ord", "--yes")
	left := time.Now()
	s.says(r.Stdout, "dfw is taken out", "RoleBinding fernetcast-ord", "ServiceAccount fernetcast-ord")
	if s.entry("ord", "dfw") != nil {
		t.Error("its entry is still there")
	}
	s.until(func(ctx context.Context) error {
		_, err := stolen.CoreV1().Secrets(s.ns).Get(ctx, testenv.SecretName, metav1.GetOptions{})
		if !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("its token is answered %v", err)
		}
		return nil
	})
	if took := time.Since(left); took > revoked {
		t.Errorf("its token was refused after %s, the bar is %s", took, revoked)
	}
	rotation, err := s.cluster("sjc").Rotate(s.ctx, s.ns, 7)
	s.must(err)
	s.until(func(ctx context.Context) error { return s.cluster("dfw").Holds(ctx, s.ns, rotation.Keys) })

	// What is stored is of another cluster than the context of that name.
	dfw := s.entry("sjc", "dfw")
	s.store("dfw", s.altered("dfw", func(c *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo) {
		c.CertificateAuthorityData = s.cluster("iad").Config().CAData
	}))
	s.says(s.exits(2, "--context", "sjc", "leave", "dfw", "--yes").Stderr, "your context dfw has another CA than what is stored of dfw")
	s.store("dfw", dfw)
	s.says(s.exits(0, "--context", "sjc", "leave", "dfw", "--yes").Stdout, "Role fernetcast.", "keys there stay")
	s.must(s.cluster("dfw").Holds(s.ctx, s.ns, rotation.Keys))
	s.says(s.exits(0, "--context", "sjc", "leave", "dfw", "--yes").Stdout, "is taken out")
	s.says(s.exits(0, "--context", "sjc", "leave", "nobody", "--yes").Stdout, "Nothing is stored of nobody")
}

// client is one with what a kubeconfig holds.
func (s *stage) client(kubeconfig []byte) kubernetes.Interface {
	s.Helper()
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	s.must(err)
	client, err := kubernetes.NewForConfig(cfg)
	s.must(err)
	return client
}

// A remote that does not answer is taken out here, and what stays there is told.
func TestLeaveDead(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	proxy, err := s.cluster("dfw").Proxy()
	s.must(err)
	s.reach("dfw", proxy.URL())
	s.exits(0, "join", "dfw", "--remote-context", "dfw", "--server", proxy.URL(), "--yes", "--wait", "0")
	s.must(proxy.Set(testenv.Hold))
	r := s.exits(1, "leave", "dfw", "--yes", "--request-timeout", "2s")
	s.says(r.Stderr, "dfw is not pushed to any more", "no answer in time", "delete serviceaccount fernetcast-sjc", "leave dfw --local")
	if s.entry("sjc", "dfw") != nil {
		t.Error("its entry is still there")
	}
	s.must(proxy.Set(testenv.Pass))
	s.says(s.exits(0, "leave", "dfw", "--yes").Stdout, "ServiceAccount fernetcast-sjc")

	s.exits(0, "join", "dfw", "--remote-context", "dfw", "--server", proxy.URL(), "--yes", "--wait", "0")
	s.must(proxy.Set(testenv.Refuse))
	s.says(s.exits(0, "leave", "dfw", "--local", "--yes").Stdout, "dfw is taken out")
	s.says(s.exits(0, "leave", "dfw", "--local", "--yes").Stdout, "Nothing is stored of dfw")
}
