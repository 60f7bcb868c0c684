package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"golang.org/x/oauth2"
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
	// maxHeader bounds a response's headers, in bytes.
	maxHeader = 32 << 10
	// receiveBuffer bounds the unread response bytes that HTTP/2 buffers for each request.
	receiveBuffer = 256 << 10
	// readsPerSecond and readsAtOnce limit the reads that a remote can provoke.
	readsPerSecond, readsAtOnce = 5, 50
	// headerTable is the size of HTTP/2's two header compression tables, in bytes. A size of 1
	// keeps them empty. Two 4 KiB tables would be a large share of a remote's memory and save
	// little at two requests per minute.
	headerTable = 1
	// frameBytes is the size of the largest HTTP/2 frame, each of which is buffered. It is the
	// protocol's minimum.
	frameBytes = 16 << 10
	// remotePing is how long a remote's connection can be idle before HTTP/2 pings it. Only the
	// watch needs pings, because requests have their own deadlines. The watch's bookmarks, one per
	// minute, also prove that the connection works, so a shorter interval would only add work.
	remotePing = 75 * time.Second
)

// Options configure a [Client].
type Options struct {
	UserAgent string
	// Timeout bounds each request. For a WATCH, it bounds only the wait for the response.
	Timeout time.Duration
	// Remote marks the cluster as an untrusted remote: its reads are rate limited, and its idle
	// connection uses little memory.
	Remote bool
	// SignIn is set only if the config has no credentials.
	SignIn SignIn
	// OtherToken is used if the cluster rejects the config's token; "" if there is none.
	OtherToken string
	// If TLS isn't nil, it replaces the config's TLS settings, and the client uses HTTP/1.1 instead
	// of HTTP/2.
	TLS *tls.Config
}

// SignIn supplies tokens for a cluster whose config has no credentials.
type SignIn struct {
	Tokens transport.ResettableTokenSource // nil if no tokens are needed
	// Advice tells the operator what to do if the cluster rejects a token.
	Advice string
}

// A tokenWaiter delays each request until a token is available, but not beyond the request's
// context.
type tokenWaiter struct {
	tokens oauth2.TokenSource
	next   http.RoundTripper
}

// RoundTrip implements [http.RoundTripper]. The next request uses a token that arrives too late for
// this one.
func (w tokenWaiter) RoundTrip(req *http.Request) (*http.Response, error) {
	got := make(chan error, 1)
	go func() {
		_, err := w.tokens.Token()
		got <- err
	}()
	select {
	case err := <-got:
		if err != nil {
			return nil, err
		}
		return w.next.RoundTrip(req)
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// A Client talks to one cluster over its own connections. It is safe for concurrent use.
type Client struct {
	http    *http.Client
	core    corev1client.CoreV1Interface
	events  eventsv1client.EventsV1Interface // nil for a remote
	timeout time.Duration
	pace    *pace
	dialer  *connrotation.Dialer // opens connections through a pace
	closed  atomic.Bool
	clock   atomic.Pointer[time.Time] // the server's time in its last response; nil if unknown

	mu   sync.Mutex
	sent map[mirror.Request]int
}

// New returns a client for the cluster of cfg. It modifies cfg and sends nothing.
func New(cfg *rest.Config, opts Options) (*Client, error) {
	c := &Client{timeout: opts.Timeout, pace: newPace(homeWork), sent: map[mirror.Request]int{}}
	if opts.Remote {
		c.pace = newPace(remoteWork)
	}
	c.dialer = connrotation.NewDialer(c.pace.dial)
	if cfg.Proxy == nil { // client-go caches transports without a Proxy function forever
		cfg.Proxy = http.ProxyFromEnvironment
	}
	cfg.Dial = c.dial
	cfg.UserAgent, cfg.Timeout = opts.UserAgent, 0
	cfg.QPS = -1                           // the guard limits requests, including WATCHes
	cfg.WarningHandler = rest.NoWarnings{} // the server chooses their text
	cfg.ContentType = mediaType
	cfg.AcceptContentTypes = mediaType
	cfg.DisableCompression = true
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		t := &guard{next: bounded(next, c, opts), advice: opts.SignIn.Advice, client: c}
		if opts.OtherToken != "" {
			t.next = &fallback{next: t.next, tokens: [2]string{cfg.BearerToken, opts.OtherToken}}
		}
		if opts.Remote {
			t.reads = flowcontrol.NewTokenBucketRateLimiter(readsPerSecond, readsAtOnce)
		}
		tokens := opts.SignIn.Tokens
		if tokens == nil {
			return t
		}
		t.next = transport.ResettableTokenSourceWrapTransport(tokens)(t.next)
		return tokenWaiter{tokens, t}
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

// bounded limits the data that net/http reads by itself. Because the config has a Proxy function,
// client-go passes a plain [http.Transport].
func bounded(transport http.RoundTripper, c *Client, opts Options) http.RoundTripper {
	if t, ok := transport.(*http.Transport); ok {
		t.MaxResponseHeaderBytes = maxHeader
		t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: receiveBuffer, MaxReadFrameSize: frameBytes}
		if opts.TLS != nil {
			t.TLSClientConfig = opts.TLS
		}
		if opts.Remote {
			t.HTTP2.MaxDecoderHeaderTableSize, t.HTTP2.MaxEncoderHeaderTableSize = headerTable, headerTable
			t.HTTP2.SendPingTimeout = remotePing
		}
	}
	return countingTransport{transport, c}
}

// A countingTransport counts the requests sent. It also closes the body of a 101 Switching
// Protocols response. net/http returns the raw connection as that body, and canceling the context
// doesn't interrupt a read from it.
type countingTransport struct {
	next   http.RoundTripper
	client *Client
}

// RoundTrip implements [http.RoundTripper].
func (t countingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	t.client.count(req.Method, resp)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close() // the status code becomes the error
		resp.Body = http.NoBody
	}
	return resp, err
}

// dial opens a connection unless the client is closed. It checks again after dialing, because Close
// doesn't see a connection that is still being opened.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.closed.Load() {
		return nil, net.ErrClosed
	}
	conn, err := c.dialer.DialContext(ctx, network, address)
	if err == nil && c.closed.Load() {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	return conn, err
}

// HTTP returns a client for requests that aren't about Secrets. It has a deadline and a response
// limit, does not follow redirects, and cannot watch.
func (c *Client) HTTP() *http.Client {
	return &http.Client{Transport: c.http.Transport, Timeout: c.timeout}
}

// CreateEvent creates an event in the namespace that it names. Don't call it if [Options.Remote] is
// set. If an event with that name exists, the error satisfies [apierrors.IsAlreadyExists].
func (c *Client) CreateEvent(ctx context.Context, event *eventsv1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// Don't use the typed Create, because it would decode the response. For an event, only the size
	// of the response is limited.
	return c.events.RESTClient().Post().Namespace(event.Namespace).Resource("events").Body(event).Do(ctx).Error()
}

// Close permanently closes all connections. Later requests fail.
func (c *Client) Close() {
	c.closed.Store(true)
	c.dialer.CloseAll()
}

// Clock returns the time in the server's last response, to the second, or false if it is unknown.
// Use it to compare timestamps that the server recorded.
func (c *Client) Clock() (time.Time, bool) {
	at := c.clock.Load()
	return ptr.Deref(at, time.Time{}), at != nil
}
