package telemetry

import (
	"context"
	"net"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// maxHeaderBytes limits a request's header. net/http adds 4 KiB to this limit. It is low
// because short header lines need 40 times their size in memory.
const maxHeaderBytes = 1 << 10

// limits bounds the total cost of all clients. A connection carries one request and is then
// closed, so a limit on connections is a limit on requests. Clients beyond the limits wait
// in the kernel's queue. A probe waits there too, but only for seconds, because the
// deadlines soon free every connection.
type limits struct {
	// conns limits the open connections. A quarter of them can read /statusz and /metrics,
	// which may take longer. The rest stay available to probes.
	conns int
	// rate limits the accepted connections per second. After a pause, up to conns
	// are accepted at once.
	rate rate.Limit
	// read limits the time to receive a request with its body, and write the time to send a
	// response.
	read, write time.Duration
}

// defaultLimits allow 300 clients that hold their connections as long as possible to delay
// a probe by 5 s, the Deployment's probe timeout. They cost 15 MiB.
var defaultLimits = limits{conns: 64, rate: 100, read: time.Second, write: 5 * time.Second}

// server applies all limits except conns, which the listener applies.
func (l limits) server(handler http.Handler) *http.Server {
	pace := rate.NewLimiter(l.rate, l.conns)
	server := &http.Server{
		Handler:        handler,
		MaxHeaderBytes: maxHeaderBytes,
		ReadTimeout:    l.read,
		WriteTimeout:   l.write,
		// The server calls this after each Accept, before the next one.
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			time.Sleep(pace.Reserve().Delay())
			return ctx
		},
	}
	server.SetKeepAlivesEnabled(false)
	return server
}
