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

// Gateway stands before a cluster's API server as a load balancer that ends TLS
// does, over HTTP/2: it sees each request, and can be made to spoil what
// becomes of it. Its methods may be called concurrently.
type Gateway struct {
	server *httptest.Server
	pass   http.Handler

	mu       sync.Mutex
	handler  http.Handler
	requests []Request
	old      bool
}

// Request is one that came to a Gateway.
type Request struct {
	// Method is HTTP's: GET is also that of a LIST or a WATCH.
	Method string
	// Watch says that it is a WATCH.
	Watch bool
	// Came is when its header was there.
	Came time.Time
}

// Gateway starts one before the cluster's API server.
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
	quiet := log.New(io.Discard, "", 0) // clients that go away are no news
	g := &Gateway{pass: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true,
		},
		FlushInterval: -1, // a watch's events go on at once
		ErrorLog:      quiet,
	}}
	g.handler = g.pass
	g.server = httptest.NewUnstartedServer(g)
	g.server.EnableHTTP2 = true
	g.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, GetConfigForClient: g.protocol(pair)}
	g.server.Config.ErrorLog = quiet
	g.server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connection{}, conn)
	}
	g.server.StartTLS()
	c.env.onClose(g.Close)
	return g, nil
}

// connection is the key of a request's connection in its context.
type connection struct{}

// URL is the server's for a kubeconfig; the cluster's CA is good for it.
func (g *Gateway) URL() string { return g.server.URL }

// Age has new connections speak HTTP/1.1, of which a handler can take the
// connection for itself, or HTTP/2 again.
func (g *Gateway) Age(old bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.old = old
}

// protocol offers HTTP/1.1 alone where the gateway is to be old.
func (g *Gateway) protocol(pair tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	old := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	return func(*tls.ClientHelloInfo) (*tls.Config, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.old {
			return old, nil
		}
		return nil, nil // the server's own
	}
}

// Spoil has every request from now on go to what spoil makes of the honest
// handler, which hands them on to the API server; nil makes the gateway honest
// again. Requests that are under way, watches above all, stay as they are: Cut
// ends them. A handler that waits has to end with its request's context.
func (g *Gateway) Spoil(spoil func(honest http.Handler) http.Handler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handler = g.pass
	if spoil != nil {
		g.handler = spoil(g.pass)
	}
}

// ServeHTTP is for the gateway's own server alone.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.requests = append(g.requests, Request{Method: r.Method, Watch: r.URL.Query().Has("watch"), Came: time.Now()})
	handler := g.handler
	g.mu.Unlock()
	handler.ServeHTTP(w, r)
}

// Requests are those that came so far, also the spoilt ones.
func (g *Gateway) Requests() []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

// Cut breaks all connections. New ones are taken.
func (g *Gateway) Cut() { g.server.CloseClientConnections() }

// Sever breaks the connection that a gateway's request came by, with all else
// that is under way on it.
func Sever(r *http.Request) {
	if conn, ok := r.Context().Value(connection{}).(*tls.Conn); ok {
		// One that cannot be closed is closed already.
		_ = conn.NetConn().Close()
	}
}

// Close cuts every connection and ends the gateway.
func (g *Gateway) Close() {
	// httptest's own would wait for handlers. What the sockets answer tells nothing.
	_ = g.server.Config.Close()
}
