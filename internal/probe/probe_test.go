package probe

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

const (
	text    = "gAAAAABsecret-token-of-the-test_0123456789abcdefghij"
	auditID = "3T2dc1CGQxyJsHdDu1xkcw"
	secret  = "not-a-real-password"
)

// cloud is a Keystone that issues one token. Its catalog lists other servers.
type cloud struct {
	*httptest.Server
	endpoints []map[string]string
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			good(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Subject-Token", text)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{
			"audit_ids": []string{auditID}, "catalog": []any{
				map[string]any{"type": "compute", "endpoints": []any{map[string]string{"interface": "public", "region_id": "nova", "url": "https://192.0.2.1"}}},
				map[string]any{"type": "identity", "endpoints": c.endpoints},
			},
		}})
	}))
	t.Cleanup(c.Close)
	c.region("sjc", c.URL+"/v3")
	return c
}

func (c *cloud) region(name, url string) {
	c.endpoints = append(c.endpoints, map[string]string{"interface": "public", "region_id": name, "url": url},
		map[string]string{"interface": "internal", "region_id": name, "url": "https://192.0.2.1"})
}

// credentials writes a clouds.yaml for the cloud and loads it.
func (c *cloud) credentials(t *testing.T) Credentials {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf("clouds: {production: {region_name: sjc, cacert: %s, auth: {auth_url: %q, username: u, password: %s, project_name: p, user_domain_name: d, project_domain_name: d}}}", ca, c.URL, secret)
	if err := os.WriteFile(filepath.Join(dir, "clouds.yaml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", filepath.Join(dir, "clouds.yaml"))
	creds, err := Load("production")
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

func good(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("X-Auth-Token") != text || r.Header.Get("X-Subject-Token") != text {
		w.WriteHeader(http.StatusTeapot)
	}
	fmt.Fprintf(w, `{"token": {"audit_ids": [%q]}}`, auditID)
}

func answer(code int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// Only responses that Keystone itself could send count as accepted or refused. No text from a
// server is shown.
func TestVerdicts(t *testing.T) {
	var elsewhere atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Store(true) }))
	defer thief.Close()
	const refusal = `{"error": {"code": 401, "message": "` + text + `", "title": "Unauthorized"}}`
	cases := map[string]struct {
		answer http.HandlerFunc
		want   mirror.Verdict
		detail string
	}{
		"good":        {good, mirror.Accepted, ""},
		"refused":     {answer(401, "application/json", refusal), mirror.Refused, ""},
		"proxy":       {answer(401, "text/html", "<html>"+text), mirror.Failed, "isn't from Keystone"},
		"login":       {answer(200, "text/html", "<html>"+text), mirror.Failed, "isn't from Keystone"},
		"other-token": {answer(200, "application/json", `{"token": {"audit_ids": ["another"]}}`), mirror.Failed, "isn't from Keystone"},
		"missing":     {answer(404, "text/html", "<html>"+text), mirror.Failed, "isn't from Keystone"},
		"truncated":   {answer(500, "application/json", text), mirror.Failed, "key repository"},
		"unavailable": {answer(503, "text/plain", text), mirror.Failed, "not available"},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		}, mirror.Unreachable, "redirects"},
		"large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000000")
			fmt.Fprint(w, text)
		}, mirror.Unreachable, "larger than 2 MiB"},
		"costly":       {answer(200, "application/json", strings.Repeat("[", 1<<20)), mirror.Unreachable, ""},
		"frozen":       {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, mirror.Unreachable, "timed out"},
		"disconnected": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, mirror.Unreachable, ""},
	}
	c := newCloud(t)
	for name, k := range cases {
		server := httptest.NewUnstartedServer(k.answer)
		server.TLS = &tls.Config{Certificates: c.TLS.Certificates}
		server.Config.ErrorLog = c.Config.ErrorLog
		server.StartTLS()
		defer server.Close()
		c.region(name, server.URL)
	}
	p, err := Open(t.Context(), c.credentials(t), Options{Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if regions := p.Regions(); len(regions) != len(cases)+1 || slices.Contains(regions, "nova") {
		t.Errorf("the regions are %v", regions)
	}
	began, first := time.Now(), time.Duration(0)
	p.Run(t.Context(), []string{"sjc"}, p.Regions(), func(r mirror.Probe) {
		if first == 0 {
			first = time.Since(began)
		}
		if r.To == "sjc" {
			return
		}
		want := cases[r.To]
		if r.From != "sjc" || r.Verdict != want.want || !strings.Contains(r.Detail, want.detail) || (r.Detail == "") != (want.want == mirror.Accepted || want.want == mirror.Refused) {
			t.Errorf("%+v, want %s, %q", r, want.want, want.detail)
		}
		if shown := fmt.Sprintf("%+v", r); strings.Contains(shown, text[:10]) || strings.Contains(shown, "html") {
			t.Errorf("the output shows text from a server: %s", shown)
		}
	})
	if took := time.Since(began); took > 5*time.Second || first > time.Second {
		t.Errorf("the run took %v, and the first result came after %v", took, first)
	}
	if elsewhere.Load() {
		t.Error("the client followed a redirect")
	}
}

// A region whose sign-in fails issues no token. The error names the cause and no secret.
func TestSignInFails(t *testing.T) {
	for name, k := range map[string]struct {
		answer http.HandlerFunc
		detail string
	}{
		"password":  {answer(401, "application/json", `{"error": {"code": 401, "message": "`+secret+`"}}`), "rejects the credentials"},
		"no token":  {answer(201, "application/json", `{"token": {}}`), "isn't from Keystone"},
		"not found": {answer(404, "text/html", "<html>"), "isn't from Keystone"},
		"down":      {answer(503, "text/html", secret), "not available"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			server := httptest.NewUnstartedServer(k.answer)
			server.TLS = &tls.Config{Certificates: c.TLS.Certificates}
			server.StartTLS()
			defer server.Close()
			c.region("dfw", server.URL)
			p, err := Open(t.Context(), c.credentials(t), Options{Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			p.Run(t.Context(), []string{"dfw"}, []string{"sjc"}, func(r mirror.Probe) {
				if r.Verdict != mirror.NoToken || r.To != "" || !strings.Contains(r.Detail, k.detail) || strings.Contains(r.Detail, secret) {
					t.Errorf("%+v, want %q", r, k.detail)
				}
			})
			c.Config.Handler = k.answer
			if _, err := Open(context.Background(), c.credentials(t), Options{Timeout: 5 * time.Second}); err == nil || !strings.Contains(err.Error(), k.detail) {
				t.Errorf("open returned %v, want %q", err, k.detail)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	c := newCloud(t)
	c.region("DFW", c.URL)
	creds := c.credentials(t)
	for address, want := range map[string]string{
		"http://127.0.0.1:1": "not sent unencrypted", "ftp://x": "not an http", "": "not an http", c.URL + "/identity/v3/": "",
	} {
		p, err := Open(t.Context(), creds, Options{Timeout: 5 * time.Second, Endpoints: map[string]string{"dfw": address}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
		if err != nil {
			continue
		}
		defer p.Close()
		if name, ok := p.Region("Dfw"); !ok || name != "dfw" || p.keystones[name].base != c.URL+"/identity" {
			t.Errorf("the region is %q, %v", name, ok)
		}
		if regions := p.Regions(); len(regions) != 2 { // the endpoint from the flag replaces DFW's
			t.Errorf("the regions are %v", regions)
		}
	}
	if p, err := Open(t.Context(), creds, Options{Timeout: 5 * time.Second, Interface: "internal"}); err != nil || p.keystones["sjc"].base != "https://192.0.2.1" {
		t.Errorf("the internal interface: %v", err)
	}
}

func TestLoad(t *testing.T) {
	t.Setenv("OS_CLIENT_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	variables := map[string]string{
		"OS_AUTH_URL": "https://keystone.example.com/v3", "OS_USERNAME": "u", "OS_PASSWORD": "p: {x", "OS_PROJECT_NAME": "n",
		"OS_USER_DOMAIN_NAME": "ud", "OS_PROJECT_DOMAIN_NAME": "pd", "OS_REGION_NAME": "iad", "OS_INTERFACE": "internal",
	}
	if _, err := Load(""); err == nil || !strings.Contains(err.Error(), "--os-cloud") {
		t.Errorf("without variables: %v", err)
	}
	for name, value := range variables {
		t.Setenv(name, value)
	}
	got, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	if a := got.auth; a.IdentityEndpoint != variables["OS_AUTH_URL"] || a.Username != "u" || a.Password != "p: {x" || a.DomainName != "ud" ||
		a.Scope.ProjectName != "n" || a.Scope.DomainName != "pd" || got.Region != "iad" || got.Interface != "internal" {
		t.Errorf("the variables give %+v", got)
	}
	t.Setenv("OS_PASSWORD", "")
	t.Setenv("OS_TOKEN", text)
	if _, err := Load(""); err == nil || strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "neither a password") {
		t.Errorf("with only a token: %v", err)
	}
	if _, err := Load("none"); err == nil || !strings.Contains(err.Error(), "cloud none") {
		t.Errorf("a missing cloud: %v", err)
	}
}
