package telemetry

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// probeTime limits how long a probe takes during a flood on a busy machine. On a quiet machine, a
// probe takes a tenth of a second.
const probeTime = 2 * time.Second

// The server answers probes within a second, whatever other clients do, even if they have the same
// address.
func TestProbesInAFlood(t *testing.T) {
	const head = "GET /livez HTTP/1.1\r\nHost: pod\r\n"
	reset := func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }
	held := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	for name, flood := range map[string]struct {
		clients int
		text    string
		end     func(net.Conn)
	}{
		"opened and reset":              {4, "", reset},
		"asked and reset":               {4, head + "\r\n", reset},
		"asked and closed":              {4, head + "\r\n", func(net.Conn) {}},
		"many probes":                   {200, head + "\r\n", held},
		"pipelined":                     {200, strings.Repeat(head+"\r\n", 20), held},
		"held without a word":           {300, "", held},
		"held in a header":              {300, head + "X: x", held},
		"held in a long header":         {300, head + strings.Repeat("a:\r\n", 1100), held},
		"held in a body":                {300, head + "Content-Length: 9\r\n\r\n", held},
		"of HTTP/2":                     {300, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", held},
		"the status, over and over":     {300, "GET /statusz HTTP/1.1\r\nHost: pod\r\n\r\n", held},
		"the status, without reading":   {300, "GET /statusz HTTP/1.1\r\nHost: pod\r\n\r\n", func(net.Conn) { time.Sleep(time.Second) }},
		"requests with endless headers": {50, head + strings.Repeat("a:\r\n", 8<<10), held},
	} {
		t.Run(name, func(t *testing.T) {
			address := serving(t, Server{Ready: func() bool { return true }, Status: func() mirror.Status {
				return mirror.Status{Remotes: make([]mirror.RemoteStatus, 1000)}
			}})
			ended, clients := make(chan struct{}), sync.WaitGroup{}
			for range flood.clients {
				clients.Go(func() {
					for {
						select {
						case <-ended:
							return
						default:
						}
						conn, err := net.Dial("tcp", address)
						if err != nil {
							continue
						}
						_ = conn.SetDeadline(time.Now().Add(time.Second))
						_, _ = io.WriteString(conn, flood.text)
						flood.end(conn)
						_ = conn.Close()
					}
				})
			}
			var longest time.Duration
			for began := time.Now(); time.Since(began) < 700*time.Millisecond; {
				asked := time.Now()
				code, body := get(t, "http://"+address+"/readyz")
				for code == 0 && time.Since(asked) < probeTime { // the kernel's queue was full, and it reset the connection
					code, body = get(t, "http://"+address+"/readyz")
				}
				if code != http.StatusOK {
					t.Errorf("a probe got %d %s", code, body)
				}
				longest = max(longest, time.Since(asked))
				time.Sleep(50 * time.Millisecond)
			}
			close(ended)
			clients.Wait()
			if t.Logf("a probe took %v at most", longest); longest > probeTime {
				t.Errorf("a probe took %v", longest)
			}
		})
	}
}

// Of two clients, the one that floods doesn't delay the other.
func TestClientsAreServedInTurn(t *testing.T) {
	slow := few
	slow.rate = 20
	address := serving(t, Server{limits: slow})
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	const request = "GET / HTTP/1.1\r\nHost: pod\r\n\r\n"
	for range 200 { // the last client would get its response after 10 s
		dial(t, address, request)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for range 3 {
		began := time.Now()
		conn, err := other.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprint(conn, request)
		text, _ := io.ReadAll(conn)
		_ = conn.Close()
		if took := time.Since(began); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 404") || took > probeTime {
			t.Errorf("%v: got %q after %v", err, text, took)
		}
	}
}
