package access

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// join refuses to print a configuration that no API server would accept.
func TestTrustRefuses(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	r := s.exits(2, s.keyless("sjc", "dfw", "-o", "config", "--server", "https://kubernetes.default.svc")...)
	s.says(r.Stderr, "a Service of that cluster")
	if r.Stdout != "" {
		t.Errorf("join printed %s", r.Stdout)
	}
	r = s.exits(2, s.keyless("sjc", "sjc", "-o", "config")...)
	s.says(r.Stderr, "is also sjc's own issuer", "would not start")
	s.cluster("ord").Issue("https://kubernetes.default.svc.cluster.local")
	s.Must(s.cluster("ord").Restart(s.Ctx))
	defer func() {
		s.cluster("ord").Issue(s.cluster("ord").URL)
		s.Must(s.cluster("ord").Restart(s.Ctx))
	}()
	dir := t.TempDir()
	r = s.exits(2, s.keyless("ord", "dfw", "--from", "ord", "-o", "config", "--static", dir)...)
	s.says(r.Stderr, "https://kubernetes.default.svc.cluster.local", "every cluster uses by default", "--service-account-issuer")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("files were written: %v, %v", entries, err)
	}
	s.config("sjc", "dfw", "--static", dir) // the remote reads the copy at the issuer's own address
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		t.Errorf("no files were written: %v", err)
	}
}

// The configuration that join prints as kubespray's variables has the same contents as the file,
// and an API server accepts the file that kubespray renders from them.
func TestTrustForKubespray(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	s.identifies("sjc")
	var file struct {
		JWT []any `json:"jwt"`
	}
	var variables struct {
		Use bool  `json:"kube_apiserver_use_authentication_config_file"`
		JWT []any `json:"kube_apiserver_authentication_config_jwt"`
	}
	s.Must(yaml.UnmarshalStrict(s.config("sjc", "dfw", "--kubespray"), &variables))
	s.Must(yaml.Unmarshal(s.config("sjc", "dfw"), &file))
	one, err := yaml.Marshal(file.JWT)
	s.Must(err)
	other, err := yaml.Marshal(variables.JWT)
	s.Must(err)
	if string(one) != string(other) || !variables.Use || len(file.JWT) != 1 {
		t.Errorf("the file has\n%s\nand the variables\n%s", one, other)
	}
	// kubespray 2.31 renders its list into the file like this.
	rendered, err := yaml.Marshal(map[string]any{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": variables.JWT})
	s.Must(err)
	s.Must(s.cluster("dfw").Trust(rendered))
	s.Must(s.cluster("dfw").Restart(s.Ctx))
	s.accepts("dfw", s.minted("sjc", identity, time.Hour, s.cluster("dfw").URL), http.StatusForbidden)
}

// documents starts a web server for a directory. It returns the server's URL and the path of its CA
// certificate.
func (s *stage) documents(dir string) (address, ca string) {
	s.Helper()
	files := http.FileServer(http.Dir(dir))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0")
		files.ServeHTTP(w, r)
	}))
	s.Cleanup(server.Close)
	ca = filepath.Join(s.TempDir(), "ca.crt")
	s.Must(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return server.URL, ca
}

// TestLongMainAway stops the main region's API server. A remote that restarts in the meantime still
// accepts current tokens if it reads the public keys from a static copy. If it reads them from the
// main region, it accepts tokens only after the main region is back. A new signing key takes effect
// immediately with a static copy. Otherwise, the key must be announced first.
func TestLongMainAway(t *testing.T) {
	testenv.Long(t)
	s := newAlone(t)
	s.main("sjc")
	s.identifies("sjc")
	dir := t.TempDir()
	at, ca := s.documents(dir)
	static := []string{"--at", at, "--ca", ca}
	write := func() { s.config("sjc", "iad", append(static, "--static", dir)...) }
	write()
	s.trusts("dfw", "sjc")
	s.trusts("iad", "sjc", static...)
	for _, remote := range []string{"dfw", "iad"} {
		s.join("sjc", remote, "--keyless", "--wait", "0", "--request-timeout", "1m")
	}
	// Use a client certificate, because a new signing key invalidates the sidecar's own token.
	clusters := t.TempDir()
	s.cluster("sjc").Mount(t, s.NS, clustersSecret, clusters, 0o600)
	address, err := shared.Address()
	s.Must(err)
	run, err := s.fernetcast.Start(append(byIdentity, "run", "--clusters", clusters, "--listen", address, "--tokens", t.TempDir(), "--backoff-max", "2s")...)
	s.Must(err)
	t.Cleanup(func() {
		run.Kill()
		if t.Failed() {
			t.Log(run.Stderr.Tail(40))
		}
	})
	s.synced(address, "dfw")
	s.synced(address, "iad")

	// Without this account, no new tokens can be requested, so the current ones stay in use.
	s.Must(s.cluster("sjc").Client().CoreV1().ServiceAccounts(s.NS).Delete(s.Ctx, identity, deleteNow))
	s.rotates("sjc", "dfw", "iad")
	s.identifies("sjc") // creates another account with that name; old tokens stay valid until their hour has passed
	s.rotates("sjc", "dfw", "iad")

	token := map[string]string{}
	for _, remote := range []string{"dfw", "iad"} {
		token[remote] = s.minted("sjc", identity, time.Hour, s.cluster(remote).URL)
		s.accepts(remote, token[remote], http.StatusOK)
	}
	s.cluster("sjc").Kill()
	s.accepts("dfw", token["dfw"], http.StatusOK)
	for _, remote := range []string{"dfw", "iad"} {
		s.Must(s.cluster(remote).Restart(s.Ctx))
	}
	s.accepts("iad", token["iad"], http.StatusOK)
	if code := codeOf(s.read(s.bearing("dfw", token["dfw"]))); code != http.StatusUnauthorized {
		t.Errorf("dfw, which can't have the main region's public keys, returned %d", code)
	}
	s.Must(s.cluster("sjc").Restart(s.Ctx))
	s.accepts("dfw", token["dfw"], http.StatusOK)
	s.rotates("sjc", "dfw", "iad")

	// A new signing key that was not announced takes effect immediately with a static copy, because
	// its web server allows no caching. Remotes' API servers can cache the main region's documents
	// for an hour (Cache-Control: max-age=3600), until they restart.
	both := func() (now, before string) {
		before = s.minted("sjc", identity, time.Hour, s.cluster("dfw").URL)
		s.Must(s.cluster("sjc").Restart(s.Ctx))
		write()
		s.accepts("iad", s.minted("sjc", identity, time.Hour, s.cluster("iad").URL), http.StatusOK)
		return s.minted("sjc", identity, time.Hour, s.cluster("dfw").URL), before
	}
	s.Must(s.cluster("sjc").Sign(false))
	now, before := both()
	for token, want := range map[string]int{now: http.StatusUnauthorized, before: http.StatusOK} {
		if code := codeOf(s.read(s.bearing("dfw", token))); code != want {
			t.Errorf("dfw, which has cached the main region's public keys, returned %d, want %d", code, want)
		}
	}
	s.rotates("sjc", "iad") // fernetcast replaces a rejected token immediately
	s.Must(s.cluster("dfw").Restart(s.Ctx))
	s.accepts("dfw", now, http.StatusOK)
	s.accepts("dfw", before, http.StatusUnauthorized)
	s.rotates("sjc", "dfw", "iad")
	// If a key is announced an hour before the main region signs with it, no remote is ever Denied.
	// In this test, a restart takes the place of the hour.
	s.Must(s.cluster("sjc").Announce())
	both()
	s.Must(s.cluster("dfw").Restart(s.Ctx))
	s.accepts("dfw", s.minted("sjc", identity, time.Hour, s.cluster("dfw").URL), http.StatusOK)
	s.rotates("sjc", "dfw", "iad")
	denied := strings.Count(run.Stderr.String(), `"state":"Denied"`)
	s.Must(s.cluster("sjc").Sign(true))
	now, before = both()
	for _, token := range []string{now, before} {
		if code := codeOf(s.read(s.bearing("dfw", token))); code != http.StatusOK {
			t.Errorf("after an announced change, dfw returned %d", code)
		}
	}
	s.rotates("sjc", "dfw", "iad")
	if n := strings.Count(run.Stderr.String(), `"state":"Denied"`); n != denied {
		t.Errorf("a remote was Denied after an announced change")
	}
	// join reports an outdated static copy. With such a copy, a remote rejects tokens that are
	// signed with a new key.
	s.Must(s.cluster("sjc").Sign(false))
	s.Must(s.cluster("sjc").Restart(s.Ctx))
	r := s.exits(0, s.keyless("sjc", "iad", append(static, "-o", "config")...)...)
	s.says(r.Stderr, "differ from the main region's", "--static DIR")
	if code := codeOf(s.read(s.bearing("iad", s.minted("sjc", identity, time.Hour, s.cluster("iad").URL)))); code != http.StatusUnauthorized {
		t.Errorf("iad, whose static copy is outdated, returned %d", code)
	}
	write()
	s.rotates("sjc", "iad")
}

// Two regions trust each other's tokens, and swap the roles of main region and remote.
func TestKeylessFailover(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	for _, region := range []string{"sjc", "dfw"} {
		s.identifies(region)
	}
	s.trusts("dfw", "sjc")
	s.trusts("sjc", "dfw", "--from", "dfw")
	_, sjc := s.starts("sjc", byIdentity...)
	_, dfw := s.starts("dfw", byIdentity...)
	s.join("sjc", "dfw", "--keyless", "--request-timeout", "1m")
	r := s.join("dfw", "sjc", "--from", "dfw", "--keyless", "--request-timeout", "1m")
	s.says(r.Stderr, "This region is a standby")
	s.synced(sjc, "dfw")
	promoted := s.exits(0, append(byIdentity, "--context", "dfw", "promote", "dfw", "--yes")...)
	s.says(promoted.Stdout, "dfw")
	s.synced(dfw, "sjc")
	s.rotates("dfw", "sjc")
}

// A remote can be migrated from a stored token to keyless access without an interruption. The old
// token stays valid until it is revoked.
func TestTokensToKeyless(t *testing.T) {
	s := newAlone(t)
	s.main("sjc")
	s.identifies("sjc")
	s.trusts("dfw", "sjc")
	_, address := s.starts("sjc", byIdentity...)
	s.join("sjc", "dfw")
	before := s.client(s.entry("sjc", "dfw"))
	again := s.join("sjc", "dfw", "--keyless", "--request-timeout", "1m")
	s.says(again.Stdout, "No credentials are stored", "dfw is Synced")
	s.Must(s.read(before))
	_, commands, _ := strings.Cut(again.Stderr, "revoke it:\n")
	lines := strings.Split(strings.TrimSpace(commands), "\n")
	if len(lines) != 3 || !slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(l, "delete serviceaccount fernetcast-sjc") }) {
		t.Errorf("join printed %s", again.Stderr)
	}
	s.Must(s.cluster("dfw").Client().CoreV1().ServiceAccounts(s.NS).Delete(s.Ctx, "fernetcast-sjc", deleteNow))
	s.Until(func(context.Context) error {
		if codeOf(s.read(before)) != http.StatusUnauthorized {
			return errors.New("the old token is still valid")
		}
		return nil
	})
	s.rotates("sjc", "dfw")
	s.synced(address, "dfw")
	if opened := s.opened("sjc", "dfw"); opened != nil {
		t.Errorf("stored values that give access to dfw: %v", opened)
	}
}

var deleteNow metav1.DeleteOptions
