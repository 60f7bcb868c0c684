package clusters

import (
	"context"
	"net"
	"net/http"
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
	client *http.Client
}

// Connect makes a client for the cluster of cfg, which it changes: no limit of
// requests a second (the server's priority and fairness is the limiter), no
// redirects, bounded answers, no sleeping for Retry-After. Nothing is sent.
// cfg.Proxy should be set, or client-go keeps the transport for ever.
func Connect(cfg *rest.Config, userAgent string) (*Connection, error) {
	dialer := connrotation.NewDialer((&net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}).DialContext)
	cfg.Dial = dialer.DialContext
	cfg.UserAgent = userAgent
	cfg.QPS = -1
	cfg.WarningHandler = rest.NoWarnings{} // the server's own texts
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return guard{next} })
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	core, err := corev1client.NewForConfigAndClient(cfg, client)
	if err != nil {
		return nil, err
	}
	return &Connection{Core: core, dialer: dialer, client: client}, nil
}

// Reset closes all connections, also one that a watch keeps busy: after a
// time-out the next request dials anew.
func (c *Connection) Reset() { c.dialer.CloseAll() }

// Close closes all connections for good, once nothing uses the client any more.
func (c *Connection) Close() {
	c.client.CloseIdleConnections()
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
