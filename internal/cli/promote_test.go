package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// A region is an API server with one Secret and no Jobs.
type region struct {
	*httptest.Server
	mu     sync.Mutex
	secret *corev1.Secret
	writes int
}

// newRegion starts a region whose primary key has the given index.
func newRegion(t *testing.T, name string, primary int) *region {
	t.Helper()
	r := &region{secret: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "openstack", Name: "keystone-fernet-keys", UID: types.UID(name), ResourceVersion: "1"},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{"0": fernetKey(primary + 1), strconv.Itoa(primary): fernetKey(primary)},
	}}
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

func fernetKey(n int) []byte {
	return []byte(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{byte(n)}, 32)))
}

// ServeHTTP implements [http.Handler].
func (r *region) ServeHTTP(answer http.ResponseWriter, req *http.Request) {
	if strings.HasSuffix(req.URL.Path, "/jobs") {
		answer.Header().Set("Content-Type", "application/json")
		fmt.Fprint(answer, `{"kind": "JobList", "apiVersion": "batch/v1", "items": []}`)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.Method != http.MethodGet {
		body, _ := io.ReadAll(req.Body)
		object, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		r.writes++
		r.secret = object.(*corev1.Secret)
		r.secret.ResourceVersion = strconv.Itoa(r.writes + 1)
	}
	answer.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
	_, _ = answer.Write(encoded(r.secret))
}

// written returns the number of writes.
func (r *region) written() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writes
}

// store writes a kubeconfig for the region to a file.
func (r *region) store(t *testing.T, path string) {
	t.Helper()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
	text := fmt.Appendf(nil, `{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
		"clusters": [{"name": "c", "cluster": {"server": %q, "certificate-authority-data": %q}}], "users": [{"name": "u", "user": {"token": "t"}}]}`, r.URL, ca)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPromoteAndRecover runs both commands with and without --dry-run, and with and without
// -o json. Dry runs write nothing.
func TestPromoteAndRecover(t *testing.T) {
	sjc, dfw, dir := newRegion(t, "sjc", 3), newRegion(t, "dfw", 7), t.TempDir()
	remotes := filepath.Join(dir, "remotes")
	if err := os.Mkdir(remotes, 0o700); err != nil {
		t.Fatal(err)
	}
	sjc.store(t, filepath.Join(dir, "config"))
	dfw.store(t, filepath.Join(remotes, "dfw.yaml"))
	// run runs a command, and returns the JSON on stdout if the arguments include -o json.
	run := func(args string, code, writes int, stdout, stderr string) (result promoted) {
		t.Helper()
		var out, errors bytes.Buffer
		all := append(strings.Fields(args), "--kubeconfig", filepath.Join(dir, "config"), "--clusters", remotes)
		got := execute(context.Background(), call{"fernetcast", all}, strings.NewReader(""), &out, &errors)
		if got != code || !strings.Contains(out.String(), stdout) || !strings.Contains(errors.String(), stderr) {
			t.Fatalf("%s: exit code %d, want %d, %q, and %q:\n%s%s", args, got, code, stdout, stderr, out.String(), errors.String())
		}
		if n := sjc.written() + dfw.written(); n != writes {
			t.Fatalf("%s: %d writes, want %d", args, n, writes)
		}
		if strings.HasSuffix(args, "json") && code == 0 {
			if err := json.Unmarshal(out.Bytes(), &result); err != nil {
				t.Fatalf("%s: %v in %s", args, err, out.String())
			}
		}
		return result
	}
	planned := func(result promoted, term int) {
		t.Helper()
		plan := result.Plan
		if plan.Region != "sjc" || plan.Term != term || len(plan.Lines) < 2 || len(plan.Remotes) != 1 || plan.Remotes[0].Name != "dfw" || !plan.Remotes[0].Reached || plan.Remotes[0].Detail == "" {
			t.Errorf("the plan is %+v", plan)
		}
	}
	synced := func(result promoted, term int) {
		t.Helper()
		planned(result, term)
		st := result.Status
		if st == nil || st.Source.Term == nil || *st.Source.Term != term || len(st.Remotes) != 1 || st.Remotes[0].State != "Synced" {
			t.Errorf("the status is %+v", st)
		}
	}

	run("promote sjc --dry-run", 0, 0, "sjc becomes the main region, term 1, with primary 3", "")
	result := run("promote sjc --dry-run -o json", 0, 0, `"status":null`, "sjc becomes the main region, term 1")
	planned(result, 1)
	run("promote sjc", 2, 0, "", "add --yes")
	synced(run("promote sjc --yes -o json", 0, 2, "", "Marked openstack/keystone-fernet-keys"), 1)

	sjc.mu.Lock()
	sjc.secret.Data = nil
	sjc.mu.Unlock()
	run("promote sjc --dry-run -o json", 1, 2, "", "cannot be the main region's")
	run("recover --from dfw --dry-run", 0, 2, "Valid again: tokens signed with 3", "")
	result = run("recover --from dfw --dry-run -o json", 0, 2, `"status":null`, "Valid again: tokens signed with 3")
	planned(result, 2)
	synced(run("recover --from dfw --yes -o json", 0, 4, "", "Marked openstack/keystone-fernet-keys"), 2)
	run("recover --from dfw --dry-run", 1, 4, "Here now:", "there is nothing to recover")
}
