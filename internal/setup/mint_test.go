package setup

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// newMinter returns a Minter for a test API server. The server responds to token requests with
// makes. It responds with accepts to a request that checks whether it accepts a token itself.
func newMinter(t *testing.T, makes, accepts http.HandlerFunc) *Minter {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			accepts(w, r)
			return
		}
		makes(w, r)
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	m := NewMinter(MintOptions{Namespace: "openstack", Account: "fernetcast-identity", UserAgent: "test", Timeout: 10 * time.Second, Config: func() (*rest.Config, error) {
		return &rest.Config{Host: server.URL, BearerToken: "the-pod's-own", TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, nil
	}})
	t.Cleanup(func() {
		if m.main != nil {
			m.main.Close()
		}
	})
	return m
}

func code(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// A token has one audience and lasts an hour. Mint returns it only after the main region's API server
// has rejected it.
func TestMint(t *testing.T) {
	var asked authenticationv1.TokenRequest
	makes := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, &asked); err != nil {
			t.Error(err)
		}
		if r.URL.Path != "/api/v1/namespaces/openstack/serviceaccounts/fernetcast-identity/token" || r.Header.Get("Authorization") != "Bearer the-pod's-own" {
			t.Errorf("%s was requested with %s", r.URL.Path, r.Header.Get("Authorization"))
		}
		asked.Status.Token = "minted"
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		asked.APIVersion, asked.Kind = "authentication.k8s.io/v1", "TokenRequest"
		_ = json.NewEncoder(w).Encode(asked)
	}
	const audience = "https://10.0.0.5:6443"
	token, err := newMinter(t, makes, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer minted" {
			t.Errorf("the token was tried with the header %s", r.Header.Get("Authorization"))
		}
		w.WriteHeader(http.StatusUnauthorized)
	}).Mint(t.Context(), audience)
	if err != nil || token != "minted" || len(asked.Spec.Audiences) != 1 || asked.Spec.Audiences[0] != audience || *asked.Spec.ExpirationSeconds != 3600 {
		t.Errorf("got %q, %v after requesting %+v", token, err, asked.Spec)
	}
	large := answer(http.StatusCreated, "application/json", []byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","status":{"token":"`+strings.Repeat("minted", 90_000)+`"}}`))
	for what, try := range map[string]struct {
		makes, accepts http.HandlerFunc
		audience, says string
	}{
		"the main accepts it":         {makes, answer(http.StatusOK, "application/json", []byte(`{}`)), audience, "the main region's own API server would accept it"},
		"the main knows it":           {makes, code(http.StatusForbidden), audience, "the main region's own API server would accept it"},
		"the main does not say":       {makes, code(http.StatusInternalServerError), audience, "whether it would accept the token itself failed"},
		"no right to":                 {code(http.StatusForbidden), code(http.StatusUnauthorized), audience, "kubectl apply -k manifests/identity"},
		"no account":                  {code(http.StatusNotFound), code(http.StatusUnauthorized), audience, "kubectl apply -k manifests/identity"},
		"the main is not well":        {code(http.StatusServiceUnavailable), code(http.StatusUnauthorized), audience, "503"},
		"one without end":             {large, code(http.StatusUnauthorized), audience, "more than 8192"},
		"each cluster's own name":     {makes, code(http.StatusUnauthorized), "https://kubernetes.default.svc", "every cluster uses this address for itself"},
		"the same in other letters":   {makes, code(http.StatusUnauthorized), "https://Kubernetes.Default.SVC.:443", "every cluster uses this address for itself"},
		"the same of a longer domain": {makes, code(http.StatusUnauthorized), "https://kubernetes.default.svc.cluster.local", "every cluster uses this address for itself"},
	} {
		token, err := newMinter(t, try.makes, try.accepts).Mint(t.Context(), try.audience)
		var refusal *kube.Refusal
		if token != "" || !errors.As(err, &refusal) || !strings.Contains(err.Error(), try.says) || strings.Contains(err.Error(), "minted") {
			t.Errorf("%s: %.20q, %v", what, token, err)
		}
	}
	m := NewMinter(MintOptions{Config: func() (*rest.Config, error) { return nil, errors.New("no cluster") }})
	if _, err := m.Mint(t.Context(), audience); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("without a cluster: %v", err)
	}
}

// answer returns a handler that sends this response.
func answer(code int, contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = w.Write(body) // the client may have closed the connection
	}
}
