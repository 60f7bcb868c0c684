package kubeconfig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// kubeconfigOf returns a good kubeconfig with one field added or replaced.
func kubeconfigOf(t testing.TB, list, field string, value any) []byte {
	t.Helper()
	return kubeconfigWith(t, list, map[string]any{field: value})
}

func kubeconfigWith(t testing.TB, list string, more map[string]any) []byte {
	t.Helper()
	fields := map[string]map[string]any{
		"cluster": {"server": "https://127.0.0.1:1", "certificate-authority-data": ""},
		"user":    {"token": "a-token"},
		"context": {"cluster": "c", "user": "u", "namespace": "identity"},
	}
	for field, value := range more {
		if list != "" {
			fields[list][field] = value
		}
	}
	data, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "x", "preferences": map[string]any{"colors": true},
		"clusters": []any{map[string]any{"name": "c", "cluster": fields["cluster"]}},
		"users": []any{map[string]any{"name": "u", "user": fields["user"]},
			map[string]any{"name": "other", "user": map[string]any{"exec": map[string]any{"command": "sh"}}}},
		"contexts": []any{map[string]any{"name": "x", "context": fields["context"]}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// pair returns an expired self-signed certificate and its key, as PEM.
func pair(t testing.TB) (cert, key []byte) {
	t.Helper()
	return pairUntil(t, time.Unix(1e9, 0))
}

func pairUntil(t testing.TB, end time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// brokenPEM returns a PEM block that doesn't contain a certificate.
func brokenPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("secret-word")})
}

func TestParseKubeconfig(t *testing.T) {
	parsed, err := Parse(kubeconfigOf(t, "cluster", "tls-server-name", "kubernetes"), false)
	if err != nil {
		t.Fatal(err)
	}
	cfg, namespace := parsed.ClientConfig(), parsed.Namespace
	if cfg.Host != "https://127.0.0.1:1" || cfg.BearerToken != "a-token" || cfg.ServerName != "kubernetes" || namespace != "identity" {
		t.Errorf("read %s, namespace %s", cfg.String(), namespace)
	}
	if cfg.Proxy == nil {
		t.Error("without a Proxy function, client-go caches the transport forever")
	}
}

// Parse accepts unusual values that can work.
func TestKubeconfigTakes(t *testing.T) {
	cert, key := pair(t)
	other, _ := pair(t)
	for _, tc := range []struct {
		list   string
		fields map[string]any
	}{
		{"cluster", map[string]any{"server": "https://dfw.example"}},
		{"cluster", map[string]any{"server": "https://DFW.example.:65535/k8s/clusters/c-1"}},
		{"cluster", map[string]any{"server": "https://my_host:1/"}},
		{"cluster", map[string]any{"server": "https://[fe80::1%25eth0]:6443"}},
		{"cluster", map[string]any{"server": "https://10.0.0.1"}},
		{"cluster", map[string]any{"tls-server-name": "10.0.0.1"}},
		{"cluster", map[string]any{"tls-server-name": "::1"}},
		{"cluster", map[string]any{"tls-server-name": ""}},
		{"cluster", map[string]any{"certificate-authority-data": cert}},
		{"cluster", map[string]any{"certificate-authority-data": slices.Concat(brokenPEM(), []byte("text\n"), cert, key)}},
		{"cluster", map[string]any{"proxy-url": "http://me:secret-word@proxy:3128/"}},
		{"cluster", map[string]any{"proxy-url": "https://proxy"}},
		{"cluster", map[string]any{"proxy-url": "socks5://[::1]:1080"}},
		{"user", map[string]any{"token": "a-token \r\n\t\n"}},
		{"user", map[string]any{"client-certificate-data": cert, "client-key-data": key}}, // in addition to the token
		{"user", map[string]any{"client-certificate-data": cert, "client-key-data": key, "token": ""}},
		{"user", map[string]any{"client-certificate-data": slices.Concat(cert, other), "client-key-data": key}},
		{"context", map[string]any{"namespace": ""}},
		{"context", map[string]any{"namespace": nil}},
		{"context", map[string]any{"namespace": strings.Repeat("a", 63)}},
	} {
		parsed, err := Parse(kubeconfigWith(t, tc.list, tc.fields), false)
		if err != nil {
			t.Errorf("%v: %v", tc.fields, err)
			continue
		}
		cfg := parsed.ClientConfig()
		if cfg.BearerToken != "a-token" && tc.fields["token"] != "" {
			t.Errorf("%v: the token was parsed as %q", tc.fields, cfg.BearerToken)
		}
		tame(t, cfg)
		dials(t, cfg)
	}
}

// Empty fields and extensions are accepted.
func TestKubeconfigTakesWhatIsNotSet(t *testing.T) {
	for field, list := range map[string]string{
		"insecure-skip-tls-verify": "cluster", "exec": "user", "tokenFile": "user", "as-groups": "user", "extensions": "user",
	} {
		for _, nothing := range []any{nil, false, "", []any{}, map[string]any{}} {
			if _, err := Parse(kubeconfigOf(t, list, field, nothing), false); err != nil {
				t.Errorf("%s: %v: %v", field, nothing, err)
			}
		}
	}
	if _, err := Parse(kubeconfigOf(t, "context", "extensions", []any{map[string]any{"name": "minikube"}}), false); err != nil {
		t.Error(err)
	}
}

// Parse rejects fields that do more than locate the cluster and authenticate.
func TestKubeconfigRefusesFields(t *testing.T) {
	for _, tc := range []struct {
		list, field string
		value       any
	}{
		{"user", "exec", map[string]any{"command": "sh"}},
		{"user", "auth-provider", map[string]any{"name": "gcp"}},
		{"user", "tokenFile", "/var/run/secret"},
		{"user", "client-certificate", "/etc/cert"},
		{"user", "client-key", "/etc/key"},
		{"user", "username", "admin"},
		{"user", "password", "secret-word"},
		{"user", "as", "system:admin"},
		{"user", "as-uid", "1"},
		{"user", "as-groups", []any{"system:masters"}},
		{"user", "as-user-extra", map[string]any{"x": []any{"y"}}},
		{"user", "surprise", 1},
		{"cluster", "insecure-skip-tls-verify", true},
		{"cluster", "certificate-authority", "/etc/ca"},
		{"cluster", "disable-compression", true},
		{"context", "surprise", "x"},
	} {
		refused(t, kubeconfigOf(t, tc.list, tc.field, tc.value), tc.field)
	}
	refused(t, kubeconfigOf(t, "user", "\x1b[2J\u202e", true), `"\x1b[2J\u202e"`)
	refused(t, kubeconfigOf(t, "user", strings.Repeat("long", 99), true), `longlong"...`)
}

// Parse rejects allowed fields with values that can never work.
func TestKubeconfigRefusesValues(t *testing.T) {
	cert, key := pair(t)
	_, otherKey := pair(t)
	const ca, server, proxy, token, name = "certificate-authority-data", "server", "proxy-url", "token", "tls-server-name"
	for field, values := range map[string][]any{
		server: {
			"", nil, 7, []any{"https://dfw.example"}, "secret-word", "http://dfw.example:6443", "dfw.example:6443", "https:dfw.example", "https://", "https://:6443",
			"https://dfw.example:0", "https://dfw.example:65536", "https://dfw.example:99999999", "https://dfw.example:", "https://dfw.example:secret-word", "https://dfw.example:-1",
			"https://me:secret-word@dfw.example", "https://secret-word@dfw.example", "https://dfw.example?secret-word", "https://dfw.example/?", "https://dfw.example#secret-word", "https://dfw.example#",
			"https://dfw.example:6443\n", " https://dfw.example", "https://dfw.example/a b", "https://dfw.example/\x1b[2J", "https://dfw.exämple", "https://dfw.ex%C3%A4mple", "https://dfw.example/\u202e",
			"https://-dfw", "https://a..b", "https://$(id)", "https://a;b", "https://[::1", "https://[secret-word]", "https://dfw.example/" + strings.Repeat("a", maxAddress), "https://" + strings.Repeat("a.", 130) + "a",
		},
		proxy: {
			7, "secret-word", "ftp://proxy", "proxy:3128", "http://", "http://:3128", "socks5://me:secret-word@", "http://proxy:0", "http://proxy:99999999", "http://proxy:",
			"http://me:secret-word@proxy:65536", "http://proxy?secret-word", "http://proxy#secret-word", "http://proxy\n", "http://pr\x1boxy", "http://pröxy", "http://a..b", "file:///secret-word",
		},
		name:                      {7, "https://kubernetes", "kubernetes:6443", "kuber netes", "kubernetes\n", "kübernetes", "*.example", "-a", "a..b", "\x1b[2J"},
		ca:                        {7, "secret-word!", []byte("secret-word"), []byte("\n"), key, brokenPEM(), cert[:len(cert)/2]},
		token:                     {"", "\n", 7, []any{"secret-word"}, "secret\nword", " secret-word", "secret word", "secret\tword", "secret-word\x00", "Bearer secret-word", strings.Repeat("x", 8<<10+1)},
		"user":                    {"", nil, 7, "secret-word"},
		"namespace":               {7, "open/stack", "Openstack", "open.stack", "open stack", "openstack\n", "../secret-word", "-", "\x1b[2J", strings.Repeat("a", 64)},
		"cluster":                 {"", nil, 7, "secret-word"},
		"client-certificate-data": {7, "secret-word!", cert, brokenPEM()},
		"client-key-data":         {7, "secret-word!", key, []byte("secret-word")},
	} {
		list := "cluster"
		switch {
		case strings.HasPrefix(field, "client") || field == token:
			list = "user"
		case slices.Contains([]string{"cluster", "user", "namespace"}, field):
			list = "context"
		}
		for _, value := range values {
			refused(t, kubeconfigOf(t, list, field, value), field)
		}
	}
	refused(t, bytes.ReplaceAll(kubeconfigOf(t, "user", token, "DEL"), []byte("DEL"), []byte(`"secret-word\x7f"`)), token)
	refused(t, kubeconfigOf(t, "user", "client-certificate-data", cert), "only one")
	refused(t, kubeconfigOf(t, "user", "client-key-data", key), "only one")
	for _, pair := range [][2][]byte{{cert, otherKey}, {key, cert}, {cert, cert}, {brokenPEM(), key}, {slices.Concat(cert, brokenPEM()), key}, {cert, []byte("\n")}, {[]byte("\n"), key}} {
		data := kubeconfigWith(t, "user", map[string]any{"client-certificate-data": pair[0], "client-key-data": pair[1]})
		refused(t, data, "client-certificate-data")
		refused(t, data, "client-key-data")
	}
}

// refused fails the test unless Parse rejects the kubeconfig with an error that contains text, but
// no value from the kubeconfig.
func refused(t *testing.T, kubeconfig []byte, text string) {
	t.Helper()
	_, err := Parse(kubeconfig, false)
	switch {
	case err == nil:
		t.Errorf("accepted despite %s:\n%s", text, kubeconfig)
	case !strings.Contains(err.Error(), text):
		t.Errorf("the error does not name %s: %v", text, err)
	case strings.Contains(err.Error(), "secret-word") || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }):
		t.Errorf("the error shows a value: %q", err)
	}
}

func TestKubeconfigRefusesFiles(t *testing.T) {
	aliases := "a: &a " + strings.Repeat("y", 500<<10) + "\nb: [" + strings.Repeat("*a,", 2000) + "*a]\n" + string(kubeconfigOf(t, "", "", nil))
	for text, data := range map[string]string{
		"aliases": aliases,
		"commas":  strings.Repeat("{},", 511<<10/3),
		"hyphens": strings.Repeat("-\t", 511<<10/2),
		"empty":   " \n", "YAML": "\t{", "YAML of": "[]", "current-context": "apiVersion: v1\nkind: Config\n",
		"contexts has 0": "current-context: secret-word\n",
		"contexts has 2": "current-context: x\ncontexts: [{name: x, context: {cluster: c}}, {name: x, context: {cluster: d}}]\n",
		"contexts":       "current-context: x\ncontexts: [null]\n",
		"context is":     "current-context: x\ncontexts: [{name: x}]\n",
	} {
		refused(t, []byte(data), text)
	}
	for _, data := range []string{"", "null", "{}", "---\n", "\ufeff", "\x00", "current-context: x\ncontexts: [x]\n", "current-context: [x]\n"} {
		refused(t, []byte(data), "it ")
	}
}
