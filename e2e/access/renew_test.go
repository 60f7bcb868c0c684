package access

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// A due token is renewed, and others are kept. A token that can't be renewed is named and stays.
func TestRenew(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	s.join("sjc", "iad", "--wait", "0")
	s.join("sjc", "ord", "--wait", "0")
	dfw, iad := s.entry("sjc", "dfw"), s.entry("sjc", "iad")
	s.says(s.exits(0, "renew").Stdout, "dfw: kept", "100% of its lifetime is left")

	// A token of the same account with less than a third of its lifetime left.
	s.store("dfw", s.aged("dfw"))
	s.store("ord", s.aged("ord"))
	ord := s.entry("sjc", "ord")
	s.says(s.exits(0, "renew", "--dry-run").Stdout, "dfw: renew: with context dfw", "iad: kept")
	closed, err := s.cluster("ord").Proxy()
	s.Must(err)
	s.Must(closed.Set(testenv.Refuse))
	s.reach("ord", closed.URL())
	r := s.exits(1, "renew", "--ttl", "100h")
	s.says(r.Stdout, "dfw: renewed, expires at "+time.Now().Add(100*time.Hour).UTC().Format("2006-01-02T"), "iad: kept", "ord: failed: requesting a token for fernetcast-sjc: dial tcp")
	if got := s.entry("sjc", "dfw"); string(got) == string(dfw) || string(s.entry("sjc", "iad")) != string(iad) || string(s.entry("sjc", "ord")) != string(ord) {
		t.Error("an entry other than dfw was written")
	}
	s.ends(s.check(0, "dfw"), "expiry", "pass")
	s.says(s.exits(0, "renew", "iad", "--ttl", "20m", "-o", "json").Stdout, `"action":"renewed"`)
	s.says(s.exits(2, "renew", "nobody").Stderr, `no remote "nobody"`)
	s.store("iad", s.altered("iad", func(_ *clientcmdapi.Cluster, a *clientcmdapi.AuthInfo) { a.Token = "by-hand" }))
	s.says(s.exits(1, "renew", "iad").Stdout, "iad: failed: its token is not from a ServiceAccount; to replace it: fernetcast join iad")
}

// aged returns a remote's kubeconfig with a token that was issued long ago and expires soon.
func (s *stage) aged(remote string) []byte {
	s.Helper()
	token, err := s.cluster(remote).Token(s.Ctx, metav1.ObjectMeta{Namespace: s.NS, Name: "fernetcast-sjc"}, time.Now().Add(-10*time.Hour), time.Now().Add(2*time.Hour))
	s.Must(err)
	return s.altered(remote, func(_ *clientcmdapi.Cluster, a *clientcmdapi.AuthInfo) { a.Token = token })
}

// run loads a new token without a restart, and continues to push once the old token is rejected.
func TestRunTakesRenewedToken(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	address := s.runs("sjc")
	s.join("sjc", "dfw")
	before := s.expires(address)
	s.exits(0, "renew", "dfw", "--ttl", "30h")
	s.Until(func(context.Context) error {
		if s.expires(address).Equal(before) {
			return fmt.Errorf("it still has the token that expires at %s", before)
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
