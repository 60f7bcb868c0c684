package kubeconfig

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// tame fails the test if a config can do more than connect to a server by https and authenticate.
func tame(t *testing.T, cfg *rest.Config) {
	t.Helper()
	server, err := url.Parse(cfg.Host)
	if err != nil || server.Scheme != "https" || server.Host == "" || server.User != nil || server.RawQuery != "" || server.Fragment != "" {
		t.Errorf("the server %q was accepted", cfg.Host)
	}
	if cfg.Insecure || cfg.BearerTokenFile != "" || cfg.CAFile != "" || cfg.CertFile != "" || cfg.KeyFile != "" ||
		cfg.ExecProvider != nil || cfg.AuthProvider != nil || cfg.AuthConfigPersister != nil || cfg.Username != "" || cfg.Password != "" ||
		cfg.Impersonate.UserName != "" || cfg.Impersonate.UID != "" || len(cfg.Impersonate.Groups)+len(cfg.Impersonate.Extra) > 0 {
		t.Errorf("accepted: %s", cfg.String())
	}
	if cfg.BearerToken == "" && len(cfg.CertData) == 0 {
		t.Error("accepted without credentials")
	}
	if cfg.Proxy == nil {
		t.Fatal("without a Proxy function, client-go caches the transport forever")
	}
	proxy, err := cfg.Proxy(&http.Request{URL: server})
	if err != nil || proxy != nil && !slices.Contains([]string{"http", "https", "socks5"}, proxy.Scheme) {
		t.Errorf("the proxy %v was accepted, %v", proxy, err)
	}
}

var errDialed = errors.New("a request goes as far as this")

// dials fails the test if a request with this config can never reach the dial step: net/http
// rejects some headers, ports, and certificates before that.
func dials(t *testing.T, cfg *rest.Config) {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.Dial = func(_ context.Context, _, to string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(to)
		if n, convErr := strconv.ParseUint(port, 10, 16); err != nil || convErr != nil || n == 0 {
			t.Errorf("dialed %q, %v", to, err)
		}
		return nil, errDialed
	}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Errorf("accepted, but no client can be created: %v", err)
		return
	}
	if _, err = client.Get(cfg.Host); !errors.Is(err, errDialed) {
		t.Errorf("accepted, but a request fails before it dials: %v", err)
	}
}

// An accepted kubeconfig uses https, reads no files, and runs no programs. Requests with it can be
// sent. If kubectl can read the file, it reads the same values, except for white space at the end
// of the token.
func FuzzParseKubeconfig(f *testing.F) {
	f.Add(kubeconfigOf(f, "", "", nil))
	f.Add(kubeconfigOf(f, "user", "exec", map[string]any{"command": "sh"}))
	f.Add(kubeconfigOf(f, "cluster", "certificate-authority-data", base64.StdEncoding.EncodeToString([]byte("x"))))
	f.Add(kubeconfigOf(f, "cluster", "proxy-url", "socks5://proxy:1080"))
	cert, key := pair(f)
	f.Add(kubeconfigWith(f, "user", map[string]any{"client-certificate-data": cert, "client-key-data": key}))
	f.Add(kubeconfigOf(f, "cluster", "certificate-authority-data", cert))
	f.Add(kubeconfigOf(f, "user", "token", "a\n"))
	f.Add([]byte(`{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "https://a"}}], users: [{name: u, user: {token: t}}], "u\u017fers": [{name: u, user: {token: other}}]}`))
	f.Add([]byte(`{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "https://a"}}], users: [{name: u, user: {token: t}}], Users: [{name: u, user: {token: other}}]}`))
	f.Add([]byte(`{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "https://a"}}], users: [{name: u, cluster: {token: t}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := Parse(data, false)
		if err != nil {
			return
		}
		cfg, namespace := parsed.ClientConfig(), parsed.Namespace
		tame(t, cfg)
		dials(t, cfg)
		loader, err := clientcmd.NewClientConfigFromBytes(data)
		if err != nil {
			return
		}
		theirs, err := loader.ClientConfig()
		if err != nil {
			return
		}
		if u, err := url.Parse(cfg.Host); theirs.Host != cfg.Host && (err != nil || theirs.Host != u.String()) ||
			strings.TrimRightFunc(theirs.BearerToken, unicode.IsSpace) != cfg.BearerToken || theirs.ServerName != cfg.ServerName ||
			!bytes.Equal(theirs.CAData, cfg.CAData) || !bytes.Equal(theirs.CertData, cfg.CertData) || !bytes.Equal(theirs.KeyData, cfg.KeyData) {
			t.Errorf("Parse read %s, kubectl read %s", cfg.String(), theirs.String())
		}
		if ns, _, err := loader.Namespace(); err == nil && ns != namespace && (ns != "default" || namespace != "") {
			t.Errorf("Parse read the namespace %q, kubectl read %q", namespace, ns)
		}
	})
}

// canary stands for a secret that must not appear in errors.
const canary = "canary+0wnKe5Zt1="

// In an otherwise good kubeconfig, a field with any value is either allowed, empty, or rejected. No
// error contains a value.
func FuzzKubeconfigField(f *testing.F) {
	allowed := map[string][]string{
		"cluster": {"server", "tls-server-name", "certificate-authority-data", "proxy-url"},
		"user":    {"token", "client-certificate-data", "client-key-data"},
		"context": {"cluster", "user", "namespace"},
	}
	lists := []string{"cluster", "context", "user"}
	f.Add(byte(0), "server", "https://a")
	f.Add(byte(0), "server", "http://")
	f.Add(byte(0), "server", "https://me:secret@a")
	f.Add(byte(0), "proxy-url", "socks5://a:b@")
	f.Add(byte(0), "proxy-url", "ftp://a")
	f.Add(byte(0), "certificate-authority-data", "")
	f.Add(byte(0), "tls-server-name", "a b")
	f.Add(byte(1), "namespace", "openstack")
	f.Add(byte(1), "cluster", "d")
	f.Add(byte(2), "token", "a\n")
	f.Add(byte(2), "client-key-data", "YQ==")
	f.Add(byte(2), "exec", "{command: sh}")
	f.Add(byte(2), "tokenFile", "/etc/passwd")
	f.Add(byte(2), "Token", "")
	f.Add(byte(2), "extensions", "[{name: x}]")
	f.Fuzz(func(t *testing.T, list byte, field, text string) {
		where := lists[int(list)%len(lists)]
		var value any
		if yaml.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		// Test the value itself, and a string that must not appear in errors.
		for _, value := range []any{value, text + canary} {
			if _, err := yaml.Marshal(map[string]any{field: value}); err != nil || strings.Contains(field+text, "a-token") {
				return // YAML cannot encode it, or the replacement below would change it
			}
			data := kubeconfigOf(t, where, field, value)
			data = bytes.ReplaceAll(data, []byte("a-token"), []byte(canary))
			parsed, err := Parse(data, false)
			if err != nil {
				if strings.Contains(err.Error(), canary) {
					t.Errorf("the %s field %q with the value %q: the error shows a value: %v", where, field, text, err)
				}
				continue
			}
			cfg := parsed.ClientConfig()
			tame(t, cfg)
			dials(t, cfg)
			if !slices.Contains(allowed[where], field) && field != "extensions" && !nothing(value) {
				t.Errorf("the %s field %q with the value %q was accepted", where, field, text)
			}
		}
	})
}

// nothing reports whether a field with this value counts as absent.
func nothing(value any) bool {
	switch v := value.(type) {
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return slices.Contains([]any{nil, false, "", float64(0)}, value)
}
