package preflight

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// hostile examines a server that answers every request with handler.
func hostile(t *testing.T, handler http.HandlerFunc) map[string]Check {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.CloseClientConnections)
	found := map[string]Check{}
	for _, c := range Examine(t.Context(), Remote{
		Name: "dfw", Namespace: "openstack", Options: Options{Secret: "keystone-fernet-keys", Timeout: 2 * time.Second, UserAgent: "a-test"},
		Config: &rest.Config{Host: server.URL, BearerToken: "x", TLSClientConfig: rest.TLSClientConfig{Insecure: true}},
	}).Checks {
		found[c.ID] = c
	}
	if len(found) != len(steps) {
		t.Errorf("there are %d checks", len(found))
	}
	return found
}

// The clock check passes, warns, or fails, depending on the difference between the clocks.
func TestClock(t *testing.T) {
	for off, want := range map[time.Duration]Result{0: Pass, 10 * time.Second: Warn, -10 * time.Second: Warn, 2 * time.Minute: Fail, -time.Hour: Fail} {
		c := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
			_ = json.NewEncoder(w).Encode(map[string]string{"gitVersion": "v1.36.3"})
		})
		if c["clock"].Result != want || c["version"].What != "v1.36.3" {
			t.Errorf("%s off: %+v, %+v", off, c["clock"], c["version"])
		}
	}
}

// Whatever a server answers, the examination ends, shows none of the server's text, and passes no
// check that needs an API server.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"a page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>\x1b]0;x\x07</html>") },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example.com", http.StatusTemporaryRedirect)
		},
		"no end": func(w http.ResponseWriter, r *http.Request) {
			for page := strings.Repeat("x", 1<<16); r.Context().Err() == nil; {
				if _, err := fmt.Fprint(w, page); err != nil {
					return
				}
			}
		},
		"nothing": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, "{\x00")
		},
	} {
		found := hostile(t, handler)
		for _, c := range found {
			if strings.ContainsAny(c.What+c.Next, "\x1b\x00\x07{}") || strings.Contains(c.What, "elsewhere") {
				t.Errorf("%s: the check %s shows the server's text: %q", name, c.ID, c.What)
			}
		}
		if found["version"].Result != Fail || found["identity"].Result == Pass || found["rights"].Result != Skip && found["rights"].Result != Fail {
			t.Errorf("%s: %+v, %+v, %+v", name, found["version"], found["identity"], found["rights"])
		}
	}
}
