package kube

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"golang.org/x/oauth2"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// bearer has the tokens t1, t2 and so on.
type bearer struct {
	mu  sync.Mutex
	n   int
	err error
}

func (b *bearer) Token() (*oauth2.Token, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return &oauth2.Token{AccessToken: fmt.Sprint("t", b.n), Expiry: time.Now().Add(time.Hour)}, b.err
}

// A request bears the present token, and the next one another after a 401, which says
// what to do.
func TestBearer(t *testing.T) {
	var tokens []string
	var accepted atomic.Value
	accepted.Store("t1")
	b := &bearer{}
	signIn := SignIn{Tokens: transport.NewCachedTokenSource(b), Advice: "nobody trusts it"}
	client := serveTo(t, Options{UserAgent: "test", Timeout: 10 * time.Second, Remote: true, SignIn: signIn}, func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		if tokens[len(tokens)-1] != accepted.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(http.StatusOK, mediaType, encode(good()))(w, r)
	})
	try := func(want string) error {
		t.Helper()
		tokens = nil
		_, err := client.Secrets(namespace).Update(t.Context(), good(), "test")
		if got := strings.Join(tokens, " "); got != want {
			t.Errorf("it was signed with %s, want %s", got, want)
		}
		return err
	}
	if err := try("t1"); err != nil {
		t.Error(err)
	}
	accepted.Store("t2")
	d := mirror.FailureOf(try("t1"))
	if d.State != mirror.StateDenied || !strings.HasSuffix(d.Detail, "; nobody trusts it") {
		t.Errorf("%+v", d)
	}
	if err := try("t2"); err != nil {
		t.Error(err)
	}
	accepted.Store("none")
	_ = try("t2")
	if n := client.Requests()[mirror.Request{Method: http.MethodPut, Code: "401"}]; n != 2 {
		t.Errorf("%d requests with 401 were counted", n)
	}
	b.err = &Refusal{"there is none", true}
	err := try("")
	if mirror.FailureOf(err).State != mirror.StateFailed || !strings.Contains(mirror.Explain(err), "there is none") {
		t.Errorf("without a token: %v", err)
	}
}

// A request waits for a token no longer than its own deadline.
func TestTokenThatDoesNotCome(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	signIn := SignIn{Tokens: transport.NewCachedTokenSource(stuck(end))}
	client := serveTo(t, Options{UserAgent: "test", Timeout: 100 * time.Millisecond, Remote: true, SignIn: signIn}, func(http.ResponseWriter, *http.Request) {
		t.Error("a request was sent without a token")
	})
	if _, err := client.Secrets(namespace).Get(t.Context(), name); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

// stuck makes no token until it is closed.
type stuck chan struct{}

func (s stuck) Token() (*oauth2.Token, error) {
	<-s
	return nil, errors.New("too late")
}

// main is an API server that makes tokens, and says which it accepts itself.
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
	m := NewMinter(MintOptions{Namespace: namespace, Account: "fernetcast-identity", UserAgent: "test", Timeout: 10 * time.Second, Config: func() (*rest.Config, error) {
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

// A token is for one audience and an hour, and is handed out only once the main itself
// has refused it.
func TestMint(t *testing.T) {
	var asked authenticationv1.TokenRequest
	makes := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, &asked); err != nil {
			t.Error(err)
		}
		if r.URL.Path != "/api/v1/namespaces/openstack/serviceaccounts/fernetcast-identity/token" || r.Header.Get("Authorization") != "Bearer the-pod's-own" {
			t.Errorf("%s was asked with %s", r.URL.Path, r.Header.Get("Authorization"))
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
			t.Errorf("it was tried with %s", r.Header.Get("Authorization"))
		}
		w.WriteHeader(http.StatusUnauthorized)
	}).Mint(t.Context(), audience)
	if err != nil || token != "minted" || len(asked.Spec.Audiences) != 1 || asked.Spec.Audiences[0] != audience || *asked.Spec.ExpirationSeconds != 3600 {
		t.Errorf("%q, %v, asked for %+v", token, err, asked.Spec)
	}
	large := answer(http.StatusCreated, "application/json", []byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","status":{"token":"`+strings.Repeat("minted", 90_000)+`"}}`))
	for what, try := range map[string]struct {
		makes, accepts http.HandlerFunc
		audience, says string
	}{
		"the main accepts it":         {makes, answer(http.StatusOK, "application/json", []byte(`{}`)), audience, "the main's own API server would accept it"},
		"the main knows it":           {makes, code(http.StatusForbidden), audience, "the main's own API server would accept it"},
		"the main does not say":       {makes, code(http.StatusInternalServerError), audience, "does not say whether it would accept one itself"},
		"no right to":                 {code(http.StatusForbidden), code(http.StatusUnauthorized), audience, "kubectl apply -k manifests/identity"},
		"no account":                  {code(http.StatusNotFound), code(http.StatusUnauthorized), audience, "kubectl apply -k manifests/identity"},
		"the main is not well":        {code(http.StatusServiceUnavailable), code(http.StatusUnauthorized), audience, "503"},
		"one without end":             {large, code(http.StatusUnauthorized), audience, "more than 8192"},
		"each cluster's own name":     {makes, code(http.StatusUnauthorized), "https://kubernetes.default.svc", "own name for itself"},
		"the same in other letters":   {makes, code(http.StatusUnauthorized), "https://Kubernetes.Default.SVC.:443", "own name for itself"},
		"the same of a longer domain": {makes, code(http.StatusUnauthorized), "https://kubernetes.default.svc.cluster.local", "own name for itself"},
	} {
		token, err := newMinter(t, try.makes, try.accepts).Mint(t.Context(), try.audience)
		var refusal *Refusal
		if token != "" || !errors.As(err, &refusal) || !strings.Contains(err.Error(), try.says) || strings.Contains(err.Error(), "minted") {
			t.Errorf("%s: %.20q, %v", what, token, err)
		}
	}
	m := NewMinter(MintOptions{Config: func() (*rest.Config, error) { return nil, errors.New("no cluster") }})
	if _, err := m.Mint(t.Context(), audience); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Errorf("without a cluster: %v", err)
	}
}

// How long a server's documents may be kept is how long a new key may be unknown.
func TestKeptFor(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]time.Duration{
		"Cache-Control: public, max-age=3600":                                           time.Hour,
		"Cache-Control: max-age=0":                                                      0,
		"Cache-Control: max-age=60, s-maxage=120":                                       2 * time.Minute,
		"Last-Modified: " + now.Add(-100*time.Hour).UTC().Format(http.TimeFormat):       10 * time.Hour,
		"Last-Modified: " + now.Add(-10*24*time.Hour*100).UTC().Format(http.TimeFormat): 24 * time.Hour,
		"Last-Modified: " + now.Add(time.Hour).UTC().Format(http.TimeFormat):            0,
		"X: y": 0,
	} {
		name, value, _ := strings.Cut(text, ": ")
		header := http.Header{}
		header.Set(name, value)
		if got := keptFor(header, now); got.Round(time.Minute) != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
