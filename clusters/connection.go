package clusters

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
)

const (
	dialTimeout   = 5 * time.Second
	dialKeepAlive = 30 * time.Second
)

// Connection is a client of one cluster, on connections of its own. It may be
// used concurrently.
type Connection struct {
	Core   corev1client.CoreV1Interface
	dialer *connrotation.Dialer
	closed atomic.Bool
	clock  clock
}

// Connect makes a client for the cluster of cfg, which it changes: no limit of
// requests a second (the server's priority and fairness is the limiter), no
// redirects, bounded answers, no sleeping for Retry-After. Nothing is sent.
// cfg.Proxy should be set, or client-go keeps the transport for ever.
func Connect(cfg *rest.Config, userAgent string) (*Connection, error) {
	c := &Connection{dialer: connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}).DialContext)}
	cfg.Dial = c.dial
	cfg.UserAgent = userAgent
	cfg.QPS = -1
	cfg.WarningHandler = rest.NoWarnings{} // the server's own texts
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return guard{next, &c.clock} })
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	if c.Core, err = corev1client.NewForConfigAndClient(cfg, client); err != nil {
		return nil, err
	}
	return c, nil
}

// dial opens a connection, unless all are closed for good: one that was under
// way then would be found by nobody.
func (c *Connection) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.closed.Load() {
		return nil, net.ErrClosed
	}
	conn, err := c.dialer.DialContext(ctx, network, address)
	if err == nil && c.closed.Load() {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return conn, err
}

// Reset closes all connections, also one that a watch keeps busy: after a
// time-out the next request dials anew.
func (c *Connection) Reset() { c.dialer.CloseAll() }

// Close closes all connections for good: a request fails from now on.
func (c *Connection) Close() {
	c.closed.Store(true)
	c.dialer.CloseAll()
}

// Timed runs a request with a deadline, and resets the connection where it
// passed without an answer.
func (c *Connection) Timed(ctx context.Context, timeout time.Duration, request func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := request(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		c.Reset()
	}
	return err
}
