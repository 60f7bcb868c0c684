package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHandler(t *testing.T) {
	var ready atomic.Bool
	s := Server{Ready: ready.Load, Log: slog.New(slog.DiscardHandler), Status: func() mirror.Status {
		return mirror.Status{Source: mirror.SourceStatus{State: mirror.SourceMain}, Remotes: []mirror.RemoteStatus{{Name: "dfw"}}}
	}}
	server := httptest.NewServer(s.handler())
	defer server.Close()
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/statusz": 200, "/": 404} {
		if code, body := get(t, server.URL+path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	ready.Store(true)
	if code, _ := get(t, server.URL+"/readyz"); code != 200 {
		t.Errorf("ready, and /readyz says %d", code)
	}
	_, body := get(t, server.URL+"/statusz")
	var st mirror.Status
	if err := json.Unmarshal([]byte(body), &st); err != nil || st.Remotes[0].Name != "dfw" {
		t.Errorf("/statusz: %v\n%s", err, body)
	}
}

// A port that is taken is no end: it is listened on once it is free.
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
	for deadline := time.Now().Add(10 * time.Second); ; {
		code, body := get(t, fmt.Sprintf("http://%s/livez", s.Address))
		if code == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(body)
		}
	}
	cancel()
	run.Wait()
}
