package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"golang.org/x/oauth2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/transport"
)

// A bearer issues the tokens t1, t2, and so on.
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

// Requests reuse the current token. After a 401, the next request uses a new token. The error of a
// 401 includes the advice.
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
			t.Errorf("the request was sent with %s, want %s", got, want)
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

// A stuck token source blocks until it is closed.
type stuck chan struct{}

func (s stuck) Token() (*oauth2.Token, error) {
	<-s
	return nil, errors.New("too late")
}

// After a 401, a request is sent again with the other token, which later requests use. If the server
// rejects both, the request fails.
func TestOtherToken(t *testing.T) {
	var tokens []string
	var accepted atomic.Value
	client := serveTo(t, Options{UserAgent: "test", Timeout: 10 * time.Second, Remote: true, OtherToken: "t2"}, func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, strings.TrimSpace(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer")))
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) == 0 {
			t.Errorf("the body has %d bytes: %v", len(body), err)
		}
		if tokens[len(tokens)-1] != accepted.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer(http.StatusOK, mediaType, encode(good()))(w, r)
	})
	for i, try := range []struct {
		accepted, want string
		fails          bool
	}{{"t2", "a-token,t2", false}, {"t2", "t2", false}, {"a-token", "t2,a-token", false}, {"nobody's", "a-token,t2", true}, {"t2", "t2", false}} {
		tokens = nil
		accepted.Store(try.accepted)
		_, err := client.Secrets(namespace).Update(t.Context(), good(), "test")
		if got := strings.Join(tokens, ","); got != try.want || apierrors.IsUnauthorized(err) != try.fails {
			t.Errorf("request %d was signed with %s, want %s: %v", i, got, try.want, err)
		}
	}
}
