package telemetry

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// few are limits that a few clients exceed. All of their deadlines are long.
var few = limits{conns: 8, rate: 1000, read: soon, write: soon}

func dial(t *testing.T, address, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Every incomplete request is soon closed, so that many of them do not block a probe.
func TestNoConnectionIsHeld(t *testing.T) {
	const head = "GET /livez HTTP/1.1\r\nHost: pod\r\n"
	for name, text := range map[string]string{
		"silent":               "",
		"half a request line":  "GET /li",
		"half a header":        head + "X: x",
		"many header lines":    head + strings.Repeat("a:\r\n", 1100),
		"no body":              head + "Content-Length: 9\r\n\r\n",
		"half a body":          head + "Content-Length: 9\r\n\r\nhalf",
		"half a chunk":         head + "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf",
		"endless trailers":     head + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("a:\r\n", 100),
		"expects 100-continue": head + "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
		"idle":                 head + "\r\n",
		"idle, of HTTP/1.0":    "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"another protocol":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"an upgrade":           head + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			short := few
			short.read = 200 * time.Millisecond
			address := serving(t, Server{limits: short})
			var held []net.Conn
			for range 4 * few.conns {
				held = append(held, dial(t, address, text))
			}
			becomes(t, "http://"+address+"/livez", http.StatusOK)
			for _, conn := range held {
				// A reset also closes the connection.
				if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Fatalf("the connection is still open: %v", err)
				}
			}
		})
	}
}

// A header is limited no matter how it is split into lines. A typical header fits.
func TestHeaderLimit(t *testing.T) {
	address := serving(t, Server{limits: few})
	for name, c := range map[string]struct {
		header, want string
	}{
		"honest":     {"Authorization: Bearer " + strings.Repeat("x", 2<<10), "200"},
		"one line":   {"X: " + strings.Repeat("x", 6<<10), "431"},
		"many lines": {"X: " + strings.Repeat("x", maxPeek) + strings.Repeat("\r\na:", 1024), "431"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, address, "GET /livez HTTP/1.1\r\nHost: pod\r\n"+c.header+"\r\n\r\n")
			line := make([]byte, len("HTTP/1.1 200"))
			if _, err := io.ReadFull(conn, line); err != nil || !bytes.HasSuffix(line, []byte(c.want)) {
				t.Errorf("answered %q, %v; want %s", line, err, c.want)
			}
		})
	}
}

// Only complete requests of kubelets and similar clients count as probes.
func TestKindOf(t *testing.T) {
	const head, end = "GET /livez HTTP/1.1\r\nHost: pod\r\n", "\r\n"
	for text, want := range map[string]visitorKind{
		head + end: probeVisitor,
		head + "User-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n" + end: probeVisitor,
		"GET /readyz HTTP/1.0\r\n" + end:     probeVisitor,
		"":                                   silentVisitor,
		head:                                 otherVisitor,
		head + "Content-Length: 9\r\n" + end: otherVisitor,
		head + "transfer-encoding: chunked\r\n" + end:           otherVisitor,
		"POST /livez HTTP/1.1\r\nHost: pod\r\n" + end:           otherVisitor,
		"GET /metrics HTTP/1.1\r\nHost: pod\r\n" + end:          otherVisitor,
		"GET /livez/../metrics HTTP/1.1\r\nHost: pod\r\n" + end: otherVisitor,
		head + strings.Repeat("a:\r\n", maxPeekLines):           abusiveVisitor,
	} {
		if got := kindOf([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// Errors of net/http are logged once a minute, without text from clients and without stack traces.
func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := few.server(nil, slog.New(slog.NewTextHandler(&out, nil))).ErrorLog
		for range 100 {
			log.Print("http: panic serving 10.0.0.1:1: trouble\ngoroutine 1 [running]:")
			time.Sleep(complainEvery / 50)
		}
		log.Print(`http: invalid header "secret-word"`)
		if text := out.String(); strings.Count(text, "\n") != 3 || strings.Contains(text, "goroutine") || strings.Contains(text, "secret-word") {
			t.Errorf("logged:\n%s", text)
		}
	})
}

// All clients together get only a few connections, but each client is served eventually.
func TestFewConnections(t *testing.T) {
	var now, most atomic.Int64
	address := serving(t, Server{limits: few, Ready: func() bool {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		time.Sleep(20 * time.Millisecond) // slow enough for requests to overlap
		return true
	}})
	var clients sync.WaitGroup
	for range 10 * few.conns {
		clients.Go(func() {
			becomes(t, "http://"+address+"/readyz?", http.StatusOK)
		})
	}
	clients.Wait()
	if n := most.Load(); n > int64(few.conns) {
		t.Errorf("%d were served at the same time, want at most %d", n, few.conns)
	}
}

// The server limits the rate of requests and handles one per connection.
func TestPace(t *testing.T) {
	s := Server{limits: few}
	s.limits.rate = 50
	address := serving(t, s)
	const asked = 30
	began := time.Now()
	for range asked {
		conn := dial(t, address, strings.Repeat("GET /livez? HTTP/1.1\r\nHost: pod\r\n\r\n", 5))
		text, err := io.ReadAll(conn)
		if n := strings.Count(string(text), "HTTP/1.1 200"); n != 1 || err != nil {
			t.Fatalf("one connection got %d responses, %v", n, err)
		}
	}
	if took, least := time.Since(began), time.Duration(asked-few.conns)*time.Second/50; took < least {
		t.Errorf("%d requests took %v, want at least %v", asked, took, least)
	}
}

// A response that its client does not read times out.
func TestUnreadAnswerEnds(t *testing.T) {
	short := few
	short.write = 200 * time.Millisecond
	ended := make(chan error, 1)
	server := short.server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}), slog.New(slog.DiscardHandler))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serve sync.WaitGroup
	serve.Go(func() { _ = server.Serve(listener) })
	defer serve.Wait()
	defer server.Close()
	dial(t, listener.Addr().String(), "GET / HTTP/1.1\r\nHost: pod\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(soon):
		t.Error("the response is still being written")
	}
}
