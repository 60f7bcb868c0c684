package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"go.uber.org/goleak"
)

// soon is a generous deadline for slow machines.
const soon = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serving starts s and returns its address. It sets the Log.
func serving(t *testing.T, s Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	var serve sync.WaitGroup
	serve.Go(func() {
		if err := s.serveOn(ctx, listener); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); serve.Wait() })
	return listener.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: soon, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// becomes waits until the URL returns the code. On a slow machine, a client can miss the
// server's deadlines, so it retries.
func becomes(t *testing.T, url string, code int) {
	t.Helper()
	for deadline := time.Now().Add(soon); ; {
		got, body := get(t, url)
		if got == code {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s returned %d %.80s, want %d", url, got, body, code)
		}
	}
}

func TestHandler(t *testing.T) {
	var ready atomic.Bool
	url := "http://" + serving(t, Server{Ready: ready.Load, Unready: "the source has not been read yet", Status: func() mirror.Status {
		return mirror.Status{Source: mirror.SourceStatus{State: mirror.SourceMain}, Remotes: []mirror.RemoteStatus{{Name: "dfw"}}}
	}})
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/statusz": 200, "/": 404} {
		if code, body := get(t, url+path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	ready.Store(true)
	if code, _ := get(t, url+"/readyz"); code != 200 {
		t.Errorf("the server is ready, but /readyz returns %d", code)
	}
	_, body := get(t, url+"/statusz")
	var st mirror.Status
	if err := json.Unmarshal([]byte(body), &st); err != nil || st.Remotes[0].Name != "dfw" {
		t.Errorf("/statusz: %v\n%s", err, body)
	}
}

// If the port is taken, the server retries until it is free.
func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Server{Address: taken.Addr().String(), Ready: func() bool { return true }, Log: slog.New(slog.DiscardHandler), retry: 10 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { s.Run(ctx) })
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	becomes(t, fmt.Sprintf("http://%s/livez", s.Address), http.StatusOK)
	cancel()
	run.Wait()
}
