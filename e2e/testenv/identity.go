package testenv

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Identity starts a server that answers like the Keystones of these regions: it issues one token
// and accepts it. The region named in frozen never answers. It returns the environment variables
// that OpenStack tools read. Package keystone has real Keystones.
func Identity(t testing.TB, frozen string, regions ...string) []string {
	t.Helper()
	var catalog []byte
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if frozen != "" && strings.HasPrefix(r.URL.Path, "/"+frozen+"/") {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.Header().Set("X-Subject-Token", "gAAAAABprobe")
			w.WriteHeader(http.StatusCreated)
		}
		fmt.Fprintf(w, `{"token": {"audit_ids": ["3T2dc1CGQxyJsHdDu1xkcw"], "catalog": %s}}`, catalog)
	}))
	t.Cleanup(server.Close)
	var endpoints []map[string]string
	for _, name := range regions {
		endpoints = append(endpoints, map[string]string{"interface": "public", "region_id": name, "url": server.URL + "/" + name + "/v3"})
	}
	var err error
	catalog, err = json.Marshal([]any{map[string]any{"type": "identity", "endpoints": endpoints}})
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"OS_AUTH_URL=" + server.URL + "/" + regions[0] + "/v3", "OS_CACERT=" + ca, "OS_USERNAME=u", "OS_PASSWORD=p",
		"OS_PROJECT_ID=p", "OS_USER_DOMAIN_ID=default", "OS_REGION_NAME=" + regions[0],
	}
}
