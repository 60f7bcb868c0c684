package testenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Gateway is a load balancer in front of an API server. It terminates TLS and speaks HTTP/2. It
// records each request and can tamper with requests and responses. Its methods are safe for
// concurrent use.
type Gateway struct {
	server *httptest.Server
	pass   http.Handler

	mu       sync.Mutex
	handler  http.Handler
	requests []Request
	old      bool
}

// Request is a request that a Gateway received.
type Request struct {
	// Method is the HTTP method. A LIST or WATCH is a GET.
	Method string
	// Watch reports whether the request is a WATCH.
	Watch bool
	// Came is when the request's header arrived.
	Came time.Time
}

// Gateway starts a gateway in front of the API server.
func (c *Cluster) Gateway() (*Gateway, error) {
	target, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the address: %w", err)
	}
	certificate, key, err := c.ca.Issue(pkix.Name{CommonName: "gateway"}, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the gateway's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.ca.cert)
	quiet := log.New(io.Discard, "", 0) // log nothing, because clients often disconnect
	g := &Gateway{pass: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true,
		},
		FlushInterval: -1, // forward watch events immediately
		ErrorLog:      quiet,
	}}
	g.handler = g.pass
	g.server = httptest.NewUnstartedServer(g)
	g.server.EnableHTTP2 = true
	g.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, GetConfigForClient: g.protocol(pair)}
	g.server.Config.ErrorLog = quiet
	g.server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": serveFrames}
	g.server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connection{}, conn)
	}
	g.server.StartTLS()
	c.env.onClose(g.Close)
	return g, nil
}

// connection is the context key under which a request's connection is stored.
type connection struct{}

// URL returns the gateway's URL for a kubeconfig. Its certificate is from the cluster's CA.
func (g *Gateway) URL() string { return g.server.URL }

// Age switches new connections to HTTP/1.1 if old is true, and back to HTTP/2 if it is false. With
// HTTP/1.1, a handler can hijack the connection.
func (g *Gateway) Age(old bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.old = old
}

// protocol returns a TLS callback that offers only HTTP/1.1 if Age has made the gateway old.
func (g *Gateway) protocol(pair tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	old := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	return func(*tls.ClientHelloInfo) (*tls.Config, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.old {
			return old, nil
		}
		return nil, nil // use the server's configuration
	}
}

// Spoil passes all new requests to the handler that spoil returns. That handler can call honest to
// forward a request to the API server. Spoil(nil) forwards all requests again. Requests in
// progress, such as watches, continue until Cut. A handler that blocks must return when its
// request's context ends.
func (g *Gateway) Spoil(spoil func(honest http.Handler) http.Handler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handler = g.pass
	if spoil != nil {
		g.handler = spoil(g.pass)
	}
}

// ServeHTTP records a request and passes it to the current handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.requests = append(g.requests, Request{Method: r.Method, Watch: r.URL.Query().Has("watch"), Came: time.Now()})
	handler := g.handler
	g.mu.Unlock()
	handler.ServeHTTP(w, r)
}

// Requests returns all requests so far, including those that a spoiled handler answered.
func (g *Gateway) Requests() []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

// Cut breaks all connections. The gateway still accepts new ones.
func (g *Gateway) Cut() { g.server.CloseClientConnections() }

// Connection returns the connection on which a Gateway received the request.
func Connection(r *http.Request) *tls.Conn { return r.Context().Value(connection{}).(*tls.Conn) }

// Sever breaks the connection on which a Gateway received the request. This ends all other requests
// on that connection, too.
func Sever(r *http.Request) {
	// Close fails only if the connection is already closed.
	_ = Connection(r).NetConn().Close()
}

// Close breaks all connections and stops the gateway.
func (g *Gateway) Close() {
	// httptest's Close would wait for handlers, so close only the inner server. Its error doesn't
	// matter.
	_ = g.server.Config.Close()
}
