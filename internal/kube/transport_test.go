package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRedirectIsNotFollowed(t *testing.T) {
	reached := make(chan string, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Header.Get("Authorization") }))
	t.Cleanup(elsewhere.Close)
	client := serve(t, 10*time.Second, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if _, err := client.Secrets(namespace).Update(t.Context(), good(), "test"); !errors.Is(err, errRedirected) {
		t.Errorf("error %v", err)
	}
	select {
	case token := <-reached:
		t.Errorf("the redirect was followed, with %q", token)
	default:
	}
}

// A Retry-After is returned immediately, so the backoff can use it.
func TestRetryAfterIsNotSleptThrough(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		var requests atomic.Int32
		client := serve(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(code)
		})
		_, err := client.Secrets(namespace).Get(t.Context(), name)
		seconds, asked := apierrors.SuggestsClientDelay(err)
		var status apierrors.APIStatus
		if !asked || seconds != 3600 || !errors.As(err, &status) || int(status.Status().Code) != code {
			t.Errorf("%d: error %v asks for %d s", code, err, seconds)
		}
		if n := requests.Load(); n != 1 {
			t.Errorf("%d: %d requests", code, n)
		}
	}
}

// Endless bodies and endless headers are cut off.
func TestEndlessAnswerIsCut(t *testing.T) {
	t.Parallel()
	for what, handler := range map[string]http.HandlerFunc{
		"body": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			for chunk := []byte(strings.Repeat("x", 1<<16)); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
		},
		"early hints": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", maxHeader/4))
			for i := 0; i < 1000 && r.Context().Err() == nil; i++ {
				w.WriteHeader(http.StatusEarlyHints)
			}
		},
	} {
		client := serve(t, 30*time.Second, handler)
		_, err := client.Secrets(namespace).Update(t.Context(), good(), "test")
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: error %v", what, err)
		}
		if what == "body" && !errors.Is(err, errTooLarge) {
			t.Errorf("%s: error %v", what, err)
		}
	}
}

// Only as much of a response is read as the checks need, in chunks of any size.
func TestAnswersAreCut(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		code        int
		contentType string
		piece       int
		most        int // in bytes, including buffered data
	}{
		"large":         {http.StatusOK, mediaType, 32 << 10, maxAnswer + 2<<20},
		"in pieces":     {http.StatusOK, mediaType, 1, maxAnswer + 2<<20},
		"error":         {http.StatusNotFound, mediaType, 32 << 10, maxError + 2<<20},
		"no protobuf":   {http.StatusOK, "text/html", 32 << 10, 2 << 20},
		"error in JSON": {http.StatusForbidden, "application/json", 32 << 10, maxError + 2<<20},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			client := serve(t, 8*time.Second, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tc.contentType)
				w.WriteHeader(tc.code)
				for piece := make([]byte, tc.piece); r.Context().Err() == nil; {
					n, err := w.Write(piece)
					if err != nil {
						return
					}
					if sent.Add(int64(n)); tc.piece == 1 && http.NewResponseController(w).Flush() != nil {
						return
					}
				}
			})
			if _, err := client.Secrets(namespace).Update(t.Context(), good(), "test"); err == nil {
				t.Error("no error")
			}
			if n := sent.Load(); n > int64(tc.most) {
				t.Errorf("%d bytes were read, want at most %d", n, tc.most)
			}
		})
	}
}

// If a server accepts a request and doesn't finish its response in time, the connection is closed,
// so the next request dials again. With HTTP/2, canceling the request alone would keep the
// connection.
func TestTimedOutConnectionIsClosed(t *testing.T) {
	t.Parallel()
	for what, handler := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half of one": func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		for verb, send := range map[string]func(*Secrets) error{
			"GET":   func(s *Secrets) error { _, err := s.Get(t.Context(), name); return err },
			"PUT":   func(s *Secrets) error { _, err := s.Update(t.Context(), good(), "test"); return err },
			"LIST":  func(s *Secrets) error { _, err := s.List(t.Context(), name, metav1.ListOptions{}); return err },
			"WATCH": func(s *Secrets) error { _, err := s.Watch(t.Context(), name, metav1.ListOptions{}); return err },
		} {
			if verb == "WATCH" && what == "half of one" {
				continue // a watch's events have no deadline
			}
			t.Run(verb+", "+what, func(t *testing.T) {
				t.Parallel()
				closed := make(chan struct{}, 8)
				client := serve(t, time.Second, handler, func(state http.ConnState) {
					if state == http.StateClosed {
						closed <- struct{}{}
					}
				})
				if err := send(client.Secrets(namespace)); err == nil {
					t.Error("no error")
				}
				select {
				case <-closed:
				case <-time.After(20 * time.Second):
					t.Error("the connection stays open")
				}
			})
		}
	}
}

// A lost connection is reported immediately, so the backoff can handle it. client-go would retry
// ten times, in lockstep for all requests on the connection.
func TestLostConnectionIsNotTriedAgain(t *testing.T) {
	for verb, send := range map[string]func(*Secrets) error{
		"GET":   func(s *Secrets) error { _, err := s.Get(t.Context(), name); return err },
		"LIST":  func(s *Secrets) error { _, err := s.List(t.Context(), name, metav1.ListOptions{}); return err },
		"WATCH": func(s *Secrets) error { _, err := s.Watch(t.Context(), name, metav1.ListOptions{}); return err },
	} {
		for what, lose := range map[string]func(net.Conn){
			"closed": func(conn net.Conn) { _ = conn.Close() },
			"reset":  func(conn net.Conn) { _ = conn.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0); _ = conn.Close() },
		} {
			var requests atomic.Int32
			client := serve(t, 3*time.Second, func(_ http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				lose(r.Context().Value(connection{}).(net.Conn))
			})
			err := send(client.Secrets(namespace))
			if n := requests.Load(); err == nil || errors.Is(err, context.DeadlineExceeded) || n != 1 {
				t.Errorf("%s, %s: error %v after %d requests", verb, what, err, n)
			}
		}
	}
}

// A closed client doesn't dial. Otherwise, a request to a removed remote would leak a connection.
func TestClosedClientDialsNoMore(t *testing.T) {
	var dialed atomic.Int32
	client := serve(t, 10*time.Second, answer(http.StatusOK, mediaType, encode(good())), func(state http.ConnState) {
		if state == http.StateNew {
			dialed.Add(1)
		}
	})
	secrets := client.Secrets(namespace)
	if _, err := secrets.Get(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	client.Close()
	before := dialed.Load()
	if _, err := secrets.Get(t.Context(), name); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if n := dialed.Load(); n != before {
		t.Errorf("%d connections were opened after Close", n-before)
	}
}

// Reads from a remote are limited to 50 at once and then 5 per second. Writes don't wait.
func TestReadsAreLimited(t *testing.T) {
	t.Parallel()
	var reads, writes atomic.Int32
	client := serve(t, 10*time.Second, func(w http.ResponseWriter, r *http.Request) {
		count := &reads
		if r.Method != http.MethodGet {
			count = &writes
		}
		count.Add(1)
		answer(http.StatusOK, mediaType, encode(good()))(w, r)
	})
	secrets := client.Secrets(namespace)
	began := time.Now()
	var last error
	for range readsAtOnce + 10 {
		if _, last = secrets.Get(t.Context(), name); last != nil {
			break
		}
		if _, err := secrets.Update(t.Context(), good(), "test"); err != nil {
			t.Fatal(err)
		}
	}
	most := readsAtOnce + int32(readsPerSecond*(time.Since(began).Seconds()+1))
	if n := reads.Load(); n > most || n < readsAtOnce {
		t.Errorf("%d reads in %v, want at most %d", n, time.Since(began), most)
	}
	if last != nil && !errors.Is(last, context.DeadlineExceeded) {
		t.Errorf("a read that would wait for too long: %v", last)
	}
}
