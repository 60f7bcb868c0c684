package access

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// renew renews a token that is due, and keeps others. If it can't renew a token, it reports that
// and leaves the token in place.
func TestRenew(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	s.join("sjc", "iad", "--wait", "0")
	s.join("sjc", "ord", "--wait", "0")
	dfw, iad := s.entry("sjc", "dfw"), s.entry("sjc", "iad")
	s.says(s.exits(0, "renew").Stdout, "dfw: kept", "it is due for renewal at")

	// Store a token for the same account that has less than a third of its lifetime left.
	s.store("dfw", s.aged("dfw"))
	s.store("ord", s.aged("ord"))
	ord := s.entry("sjc", "ord")
	s.says(s.exits(0, "renew", "--dry-run").Stdout, "dfw: renew: with context dfw", "iad: kept")
	closed, err := s.cluster("ord").Proxy()
	s.Must(err)
	s.Must(closed.Set(testenv.Refuse))
	s.reach("ord", closed.URL())
	r := s.exits(1, "renew", "--ttl", "100h")
	s.says(r.Stdout, "dfw: renewed, expires at "+time.Now().Add(100*time.Hour).UTC().Format("2006-01-02T"), "iad: kept", "ord: failed: reading Namespace kube-system with context ord: dial tcp")
	if got := s.entry("sjc", "dfw"); string(got) == string(dfw) || string(s.entry("sjc", "iad")) != string(iad) || string(s.entry("sjc", "ord")) != string(ord) {
		t.Error("the kubeconfig of a remote other than dfw was written")
	}
	s.ends(s.check(0, "dfw"), "expiry", "pass")
	s.says(s.exits(0, "renew", "iad", "--ttl", "20m", "-o", "json").Stdout, `"action":"renewed"`)
	s.says(s.exits(2, "renew", "nobody").Stderr, `no remote "nobody"`)
	s.store("iad", s.altered("iad", func(_ *clientcmdapi.Cluster, a *clientcmdapi.AuthInfo) { a.Token = "by-hand" }))
	s.says(s.exits(1, "renew", "iad").Stdout, "iad: failed: its token is not from a ServiceAccount; to replace it: fernetcast --namespace "+s.NS+" join iad")
}

// Anyone who can write the stored kubeconfigs can put any token, address, and CA there. Still,
// renew uses the operator's permissions only to request a token for this main region's own account,
// and only from the cluster in the operator's context. leave deletes only that account.
func TestForgedKubeconfig(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	s.join("ord", "dfw", "--from", "ord", "--wait", "0")
	gateway := s.gateways("dfw")[0]
	elsewhere := s.NS + "-x"
	core := s.cluster("dfw").Client().CoreV1()
	_, err := core.Namespaces().Create(s.Ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}}, metav1.CreateOptions{})
	s.Must(err)
	for _, name := range []string{account, "fernetcast-identity"} {
		_, err := core.ServiceAccounts(elsewhere).Create(s.Ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		s.Must(err)
	}
	var stolen atomic.Int32
	thief := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stolen.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(thief.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: thief.Certificate().Raw})
	forged := func(namespace, account string) string {
		claims := fmt.Sprintf(`{"sub":"system:serviceaccount:%s:%s","iat":1,"exp":2}`, namespace, account)
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".e30"
	}
	joined := s.entry("sjc", "dfw")
	gateway.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/token") {
				t.Errorf("a token was requested: %s", r.URL.Path)
			}
			honest.ServeHTTP(w, r)
		})
	})
	for _, try := range []struct {
		token string
		away  bool // the address and the CA are those of the thief's server
		says  string
	}{
		{forged(elsewhere, "fernetcast-identity"), true, "its token belongs to account " + elsewhere + "/fernetcast-identity"},
		{forged(elsewhere, account), false, "its token belongs to account " + elsewhere + "/" + account},
		{forged(s.NS, "fernetcast-ord"), false, "its token belongs to account " + s.NS + "/fernetcast-ord"},
		{forged(s.NS, account), true, "server name, or address than your context dfw"},
	} {
		s.store("dfw", s.altered("dfw", func(c *clientcmdapi.Cluster, a *clientcmdapi.AuthInfo) {
			if a.Token = try.token; try.away {
				c.Server, c.CertificateAuthorityData = thief.URL, ca
			}
		}))
		for _, flags := range [][]string{nil, {"--all"}, {"--dry-run"}} {
			r := s.exits(1, append([]string{"renew"}, flags...)...)
			s.says(r.Stdout, "dfw: failed: ", try.says, "to replace it: fernetcast --namespace "+s.NS+" join dfw")
		}
		s.store("dfw", joined)
	}
	if stolen.Load() > 0 {
		t.Errorf("the thief got %d requests", stolen.Load())
	}

	// leave doesn't delete accounts that may belong to another main region.
	config, err := clientcmd.Load(joined)
	s.Must(err)
	config.Contexts["dfw"].Namespace = elsewhere
	moved, err := clientcmd.Write(*config)
	s.Must(err)
	s.store("dfw", moved)
	s.says(s.exits(0, "leave", "dfw", "--yes").Stdout, "Removed dfw. The remote keeps its keys.")
	s.says(s.exits(1, "--context", "ord", "leave", "dfw", "--yes").Stderr, "nothing was changed", "--from REGION", "leave dfw --local")
	for namespace, names := range map[string][]string{elsewhere: {account, "fernetcast-identity"}, s.NS: {account, "fernetcast-ord"}} {
		for _, name := range names {
			_, err := core.ServiceAccounts(namespace).Get(s.Ctx, name, metav1.GetOptions{})
			s.Must(err)
		}
	}
}

// aged returns a remote's kubeconfig, with a token that was issued long ago and expires soon.
func (s *stage) aged(remote string) []byte {
	s.Helper()
	token, err := s.cluster(remote).Token(s.Ctx, metav1.ObjectMeta{Namespace: s.NS, Name: "fernetcast-sjc"}, time.Now().Add(-10*time.Hour), time.Now().Add(2*time.Hour))
	s.Must(err)
	return s.altered(remote, func(_ *clientcmdapi.Cluster, a *clientcmdapi.AuthInfo) { a.Token = token })
}

// run loads a new token without a restart, and continues to push after the old token becomes
// invalid.
func TestRunTakesRenewedToken(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	address := s.runs("sjc")
	s.join("sjc", "dfw")
	before := s.expires(address)
	s.exits(0, "renew", "dfw", "--ttl", "30h")
	s.Until(func(context.Context) error {
		if s.expires(address).Equal(before) {
			return fmt.Errorf("run still has the token that expires at %s", before)
		}
		return nil
	})
	rotation, err := s.cluster("sjc").Rotate(s.Ctx, s.NS, 7)
	s.Must(err)
	s.Until(func(ctx context.Context) error { return s.cluster("dfw").Holds(ctx, s.NS, rotation.Keys) })
}

// expires returns when run's credentials for dfw expire, according to /statusz.
func (s *stage) expires(address string) time.Time {
	s.Helper()
	status, err := testenv.Statusz(s.Ctx, address)
	s.Must(err)
	for _, remote := range status.Remotes {
		if remote.CredentialsExpire != nil {
			return *remote.CredentialsExpire
		}
	}
	return time.Time{}
}
