package clusters

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// kubeconfigOf makes one with the given fields added to, or put in place of,
// those of a good one.
func kubeconfigOf(t testing.TB, list, field string, value any) []byte {
	t.Helper()
	fields := map[string]map[string]any{
		"cluster": {"server": "https://dfw.example:6443", "certificate-authority-data": ""},
		"user":    {"token": "a-token"},
		"context": {"cluster": "c", "user": "u", "namespace": "identity"},
	}
	if list != "" {
		fields[list][field] = value
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

func TestParseKubeconfig(t *testing.T) {
	cfg, namespace, err := parseKubeconfig(kubeconfigOf(t, "cluster", "tls-server-name", "kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://dfw.example:6443" || cfg.BearerToken != "a-token" || cfg.ServerName != "kubernetes" || namespace != "identity" {
		t.Errorf("read %s, namespace %s", cfg.String(), namespace)
	}
	if cfg.Proxy == nil {
		t.Error("without a proxy function client-go keeps the transport for ever")
	}
}

// What is not set is not refused, and extensions do no harm.
func TestKubeconfigTakesWhatIsNotSet(t *testing.T) {
	for field, list := range map[string]string{
		"insecure-skip-tls-verify": "cluster", "exec": "user", "tokenFile": "user", "as-groups": "user", "extensions": "user",
	} {
		for _, nothing := range []any{nil, false, "", []any{}, map[string]any{}} {
			if _, _, err := parseKubeconfig(kubeconfigOf(t, list, field, nothing)); err != nil {
				t.Errorf("%s: %v: %v", field, nothing, err)
			}
		}
	}
	if _, _, err := parseKubeconfig(kubeconfigOf(t, "context", "extensions", []any{map[string]any{"name": "minikube"}})); err != nil {
		t.Error(err)
	}
}

func TestKubeconfigRefuses(t *testing.T) {
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
		{"cluster", "server", "http://dfw.example:6443"},
		{"cluster", "server", "dfw.example:6443"},
		{"cluster", "server", "https://me:secret-word@dfw.example"},
		{"cluster", "server", ""},
		{"cluster", "proxy-url", "ftp://proxy"},
		{"cluster", "certificate-authority-data", "not base64!"},
		{"context", "user", "nobody"},
		{"context", "cluster", "nowhere"},
		{"user", "token", []any{"secret-word"}},
		{"user", "token", ""},
	} {
		_, _, err := parseKubeconfig(kubeconfigOf(t, tc.list, tc.field, tc.value))
		switch {
		case err == nil:
			t.Errorf("%s: %v is taken", tc.field, tc.value)
		case strings.Contains(err.Error(), "secret-word"):
			t.Errorf("the error shows a value: %v", err)
		case !strings.Contains(err.Error(), tc.field) && tc.value != "nobody" && tc.value != "nowhere" && !strings.Contains(err.Error(), "base64"):
			t.Errorf("the error does not name %s: %v", tc.field, err)
		}
	}
	for name, data := range map[string]string{
		"empty": "", "no yaml": "\t{", "a list": "[]", "no context": "apiVersion: v1\nkind: Config\n",
		"twice": "current-context: x\ncontexts: [{name: x, context: {cluster: c}}, {name: x, context: {cluster: d}}]\n",
		"null":  "current-context: x\ncontexts: [{name: x}]\n",
	} {
		if _, _, err := parseKubeconfig([]byte(data)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
