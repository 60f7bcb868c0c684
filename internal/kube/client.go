package kube

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"
	eventsv1 "k8s.io/api/events/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	eventsv1client "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/ptr"
)

const (
	dialTimeout   = 5 * time.Second
	dialKeepAlive = 30 * time.Second
	// maxHeader bounds an answer's headers, in bytes.
	maxHeader = 32 << 10
	// receiveBuffer is how much of an answer HTTP/2 takes from the server before it
	// is read, in bytes for each request.
	receiveBuffer = 256 << 10
	// readsPerSecond and readsAtOnce limit the reads that a remote can provoke.
	readsPerSecond, readsAtOnce = 5, 50
	// headerTable is the size, in bytes, of HTTP/2's two header compression tables:
	// so small that they stay empty. Two of 4 KiB are much of a remote's memory, and
	// save little between two requests a minute.
	headerTable = 1
	// connBytes is how many bytes a second are taken from a remote's connection once
	// connBurst were taken at once, whatever they are: what HTTP/2 and TLS answer by
	// themselves, as pings, costs too. Each read counts as connRead at least.
	connBytes, connBurst, connRead = 128 << 10, 4 << 20, 256
	// remotePing is how long a remote's connection is silent before it is pinged. It
	// is the watch alone that waits for that: a request has its own deadline. The
	// pings of a thousand remotes would else be most of what an idle process does.
	remotePing = 30 * time.Second
)

// Options are a [Client]'s.
type Options struct {
	UserAgent string
	// Timeout bounds each request, and the wait for a WATCH's answer.
	Timeout time.Duration
	// Remote says that the cluster is one of many and a stranger: its reads are
	// limited, and its connection costs little while it is idle.
	Remote bool
	// SignIn is for a config without credentials; else zero.
	SignIn SignIn
}

// SignIn has the tokens for a cluster whose config has no credentials.
type SignIn struct {
	Tokens transport.ResettableTokenSource // nil: none are needed
	// Advice is what to do where the cluster does not take a token.
	Advice string
}

// awaiting makes each request wait for a token, but no longer than its context allows.
type awaiting struct {
	tokens oauth2.TokenSource
	next   http.RoundTripper
}

// RoundTrip implements [http.RoundTripper]. A token that comes too late is for the next
// request.
func (a awaiting) RoundTrip(req *http.Request) (*http.Response, error) {
	got := make(chan error, 1)
	go func() {
		_, err := a.tokens.Token()
		got <- err
	}()
	select {
	case err := <-got:
		if err != nil {
			return nil, err
		}
		return a.next.RoundTrip(req)
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// Client is a client of one cluster, on connections of its own. It may be used
// concurrently.
type Client struct {
	http    *http.Client
	core    corev1client.CoreV1Interface
	events  eventsv1client.EventsV1Interface // nil for a remote
	timeout time.Duration
	dialer  *connrotation.Dialer
	remote  bool
	closed  atomic.Bool
	clock   atomic.Pointer[time.Time] // the server's, at its last response; nil if unknown

	mu   sync.Mutex
	sent map[mirror.Request]int
}

// New makes a client for the cluster of cfg, which it changes. Nothing is sent.
func New(cfg *rest.Config, opts Options) (*Client, error) {
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}).DialContext)
	c := &Client{timeout: opts.Timeout, remote: opts.Remote, dialer: dialer, sent: map[mirror.Request]int{}}
	if cfg.Proxy == nil { // client-go keeps the transports of configs without one for ever
		cfg.Proxy = http.ProxyFromEnvironment
	}
	cfg.Dial = c.dial
	cfg.UserAgent, cfg.Timeout = opts.UserAgent, 0
	cfg.QPS = -1                           // the transport has the limit, for WATCHes too
	cfg.WarningHandler = rest.NoWarnings{} // the server's own texts
	cfg.ContentType = mediaType
	cfg.AcceptContentTypes = mediaType
	cfg.DisableCompression = true
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		t := &guard{next: bounded(next, c), advice: opts.SignIn.Advice, client: c}
		if opts.Remote {
			t.reads = flowcontrol.NewTokenBucketRateLimiter(readsPerSecond, readsAtOnce)
		}
		tokens := opts.SignIn.Tokens
		if tokens == nil {
			return t
		}
		t.next = transport.ResettableTokenSourceWrapTransport(tokens)(t.next)
		return awaiting{tokens, t}
	})
	var err error
	if c.http, err = rest.HTTPClientFor(cfg); err != nil {
		return nil, err
	}
	if c.core, err = corev1client.NewForConfigAndClient(cfg, c.http); err != nil || opts.Remote {
		return c, err
	}
	c.events, err = eventsv1client.NewForConfigAndClient(cfg, c.http)
	return c, err
}

// bounded limits what net/http reads of a response by itself. The transport is net/http's
// own because the config has a Proxy function.
func bounded(transport http.RoundTripper, c *Client) http.RoundTripper {
	if t, ok := transport.(*http.Transport); ok {
		t.MaxResponseHeaderBytes = maxHeader
		t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: receiveBuffer}
		if c.remote {
			t.HTTP2.MaxDecoderHeaderTableSize, t.HTTP2.MaxEncoderHeaderTableSize = headerTable, headerTable
			t.HTTP2.SendPingTimeout = remotePing
		}
	}
	return wire{transport, c}
}

// wire counts the requests that are sent. It closes the body of a 101 Switching Protocols,
// which nothing here asks for: net/http passes on the bare connection as that body, and no
// context ends a read of it.
type wire struct {
	next   http.RoundTripper
	client *Client
}

// RoundTrip implements [http.RoundTripper].
func (w wire) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(req)
	w.client.count(req.Method, resp)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close() // the status code is the error
		resp.Body = http.NoBody
	}
	return resp, err
}

// dial opens a connection, unless the client is closed: one that was being
// opened then would never be closed.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.closed.Load() {
		return nil, net.ErrClosed
	}
	conn, err := c.dialer.DialContext(ctx, network, address)
	if err == nil && c.closed.Load() {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	if err == nil && c.remote {
		conn = &pacedConn{conn, rate.NewLimiter(connBytes, connBurst)}
	}
	return conn, err
}

// pacedConn is a connection that is read at a bounded pace.
type pacedConn struct {
	net.Conn
	limiter *rate.Limiter
}

func (c *pacedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), connBurst)])
	if wait := c.limiter.ReserveN(time.Now(), max(n, connRead)).Delay(); wait > 0 {
		time.Sleep(wait)
	}
	return n, err
}

// HTTP returns a client for other requests than those for Secrets. Each has a deadline and
// a bounded response, and follows no redirect. It can't watch.
func (c *Client) HTTP() *http.Client {
	return &http.Client{Transport: c.http.Transport, Timeout: c.timeout}
}

// CreateEvent creates an event, which names its namespace, in a cluster that is no
// Remote, by a request with a deadline. An event of that name may be there already,
// as [apierrors.IsAlreadyExists] tells.
func (c *Client) CreateEvent(ctx context.Context, event *eventsv1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// The typed Create would decode the answer, which nothing bounds here but its size.
	return c.events.RESTClient().Post().Namespace(event.Namespace).Resource("events").Body(event).Do(ctx).Error()
}

// Close closes all connections for good. Each request fails from now on.
func (c *Client) Close() {
	c.closed.Store(true)
	c.dialer.CloseAll()
}

// Clock returns the server's time at its last response, to the second; false if it is not
// known. Whatever a server records has a date by that clock.
func (c *Client) Clock() (time.Time, bool) {
	at := c.clock.Load()
	return ptr.Deref(at, time.Time{}), at != nil
}
