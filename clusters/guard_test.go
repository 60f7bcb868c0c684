package clusters

import (
	"context"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// connectTo makes a client of a server that answers as it likes.
func connectTo(t *testing.T, handler http.HandlerFunc) *Connection {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return connectToServer(t, server)
}

func connectToServer(t *testing.T, server *httptest.Server) *Connection {
	t.Helper()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	conn, err := Connect(&rest.Config{Host: server.URL, BearerToken: "a-token", Proxy: http.ProxyFromEnvironment,
		TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, "test")
	must(t, err)
	t.Cleanup(conn.Close)
	return conn
}

func get(t *testing.T, conn *Connection) error {
	t.Helper()
	_, err := conn.Core.Secrets("openstack").Get(t.Context(), "keystone-fernet-keys", metav1.GetOptions{})
	return err
}

func TestRedirectIsNotFollowed(t *testing.T) {
	reached := make(chan string, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Header.Get("Authorization") }))
	t.Cleanup(elsewhere.Close)
	conn := connectTo(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if err := get(t, conn); !errors.Is(err, errRedirected) {
		t.Errorf("error %v", err)
	}
	select {
	case token := <-reached:
		t.Errorf("the redirect was followed, with %q", token)
	default:
	}
}

// A server's Retry-After comes back at once, for the back-off to heed.
func TestRetryAfterIsNotSleptThrough(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		requests := 0
		conn := connectTo(t, func(w http.ResponseWriter, _ *http.Request) {
			requests++
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(code)
		})
		start := time.Now()
		err := get(t, conn)
		seconds, asked := apierrors.SuggestsClientDelay(err)
		var status apierrors.APIStatus
		if !asked || seconds != 3600 || !errors.As(err, &status) || int(status.Status().Code) != code {
			t.Errorf("%d: error %v asks for %d s", code, err, seconds)
		}
		if requests != 1 || time.Since(start) > 10*time.Second {
			t.Errorf("%d: %d requests in %v", code, requests, time.Since(start))
		}
	}
}

func TestEndlessBodyIsCut(t *testing.T) {
	conn := connectTo(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for chunk := []byte(strings.Repeat("x", 1<<16)); r.Context().Err() == nil; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if err := get(t, conn); !errors.Is(err, errTooLarge) {
		t.Errorf("error %v", err)
	}
}

// A server that took the request and says nothing loses its connection at the
// deadline, so that the next request dials anew. Over HTTP/2 the end of the
// request alone would keep it.
func TestTimedOutConnectionIsClosed(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	server.EnableHTTP2 = true
	closed := make(chan struct{}, 1)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	conn := connectToServer(t, server)
	err := conn.Timed(t.Context(), 2*time.Second, func(ctx context.Context) error {
		_, err := conn.Core.Secrets("openstack").Get(ctx, "keystone-fernet-keys", metav1.GetOptions{})
		return err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection stays open")
	}
}

func TestSizes(t *testing.T) {
	frame := func(n int) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat("p", n)
	}
	for name, tc := range map[string]struct {
		size       func() sizer
		body       string
		step, want int
	}{
		"whole":                        {whole, "12345", 2, 5},
		"one line":                     {lines, "123\n", 9, 3},
		"the largest of lines":         {lines, "1\n1234567\n12\n", 99, 7},
		"the largest of lines, in two": {lines, "1\n1234567\n12\n", 4, 7},
		"a line without an end":        {lines, "1\n12345", 3, 5},
		"one frame":                    {frames, frame(9), 1, 9},
		"the largest of frames":        {frames, frame(2) + frame(30) + frame(4), 7, 30},
		"frames in one":                {frames, frame(2) + frame(30) + frame(4), 99, 30},
		"a frame that only says":       {frames, string(binary.BigEndian.AppendUint32(nil, 1<<31)), 3, 1 << 31},
	} {
		t.Run(name, func(t *testing.T) {
			size, largest := tc.size(), 0
			for body := tc.body; body != ""; { // however the reads fall
				n := min(tc.step, len(body))
				largest = max(largest, size([]byte(body[:n])))
				body = body[n:]
			}
			if largest != tc.want {
				t.Errorf("%d, want %d", largest, tc.want)
			}
		})
	}
}

func TestBounded(t *testing.T) {
	body := &bounded{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", maxAnswer+1))), size: whole()}
	if _, err := io.ReadAll(body); !errors.Is(err, errTooLarge) {
		t.Errorf("error %v", err)
	}
	body = &bounded{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat(strings.Repeat("x", 1023)+"\n", 2*maxAnswer/1024))), size: lines()}
	if _, err := io.ReadAll(body); err != nil {
		t.Errorf("a long watch of small events: %v", err)
	}
}
