package kube

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// If a server switches protocols and then stays silent, every kind of request fails immediately.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	const timeout = 20 * time.Second
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: keys\r\n\r\n")
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	cfg := func() *rest.Config {
		return &rest.Config{Host: server.URL, BearerToken: "a-token", TLSClientConfig: rest.TLSClientConfig{CAData: ca}}
	}
	client, err := New(cfg(), Options{Timeout: timeout, Remote: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	secrets := client.Secrets(namespace)
	for what, request := range map[string]func(context.Context) error{
		"get":    func(ctx context.Context) error { _, err := secrets.Get(ctx, name); return err },
		"update": func(ctx context.Context) error { _, err := secrets.Update(ctx, good(), "test"); return err },
		"list":   func(ctx context.Context) error { _, err := secrets.List(ctx, name, metav1.ListOptions{}); return err },
		"watch":  func(ctx context.Context) error { _, err := secrets.Watch(ctx, name, metav1.ListOptions{}); return err },
	} {
		t.Run(what, func(t *testing.T) {
			began := time.Now()
			err := request(t.Context())
			var refusal *Refusal
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), "101") {
				t.Errorf("error %v", err)
			}
			if took := time.Since(began); took > timeout/2 {
				t.Errorf("the request took %s", took)
			}
		})
	}
}
