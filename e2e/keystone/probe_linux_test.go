package keystone_test

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
	"time"
)

// Fifty regions, one of them frozen, are probed in little more than one timeout, with little memory.
func TestFiftyRegions(t *testing.T) {
	const regions, timeout, room = 50, 5 * time.Second, 60 << 20
	s := shared.Stage(t, "p", testTime)
	const token = `{"token": {"audit_ids": ["3T2dc1CGQxyJsHdDu1xkcw"], "catalog": %s}}`
	var catalog []byte
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/r17/") {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			w.Header().Set("X-Subject-Token", "gAAAAABprobe")
			w.WriteHeader(http.StatusCreated)
		}
		fmt.Fprintf(w, token, catalog)
	}))
	defer server.Close()
	var endpoints []map[string]string
	for n := range regions {
		name := fmt.Sprintf("r%02d", n)
		endpoints = append(endpoints, map[string]string{"interface": "public", "region_id": name, "url": server.URL + "/" + name + "/v3"})
	}
	var err error
	catalog, err = json.Marshal([]any{map[string]any{"type": "identity", "endpoints": endpoints}})
	s.Must(err)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	s.Must(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	program := s.Shipped().WithEnv("OS_AUTH_URL="+server.URL+"/r00/v3", "OS_CACERT="+ca, "OS_USERNAME=u", "OS_PASSWORD=p", "OS_PROJECT_ID=p", "OS_USER_DOMAIN_ID=default")

	began, peak := time.Now(), int64(0)
	process, err := program.Start("probe", "--from", "r00", "--request-timeout", timeout.String(), "--kubeconfig", filepath.Join(t.TempDir(), "none"))
	s.Must(err)
	s.Cleanup(process.Kill)
	var others time.Duration
	for process.Running() {
		if _, now, err := process.Memory(); err == nil {
			peak = max(peak, now)
		}
		if others == 0 && strings.Count(process.Stdout.String(), " accepted ") == regions-1 {
			others = time.Since(began)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(began)
	code, err := process.Wait(s.Ctx)
	s.Must(err)
	t.Logf("the others after %v, all after %v, %d MiB", others, took, peak>>20)
	if out := process.Stdout.String(); code != 1 || !strings.Contains(out, "49 of 50 accepted") || strings.Contains(process.Stderr.String(), "cancel") || !strings.Contains(out, "r00   r17   unreachable") {
		t.Errorf("exit code %d:\n%s%s", code, out, process.Stderr)
	}
	if others == 0 || others > took-time.Second || took > 2*timeout || peak > room {
		t.Errorf("the others after %v, all after %v, with %d MiB", others, took, peak>>20)
	}
}
