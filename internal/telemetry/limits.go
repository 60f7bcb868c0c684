package telemetry

import (
	"context"
	"net"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// maxHeaderBytes bounds a request's header, beyond the 4 KiB that net/http adds
// to every limit: one of short lines takes 40 times as much memory.
const maxHeaderBytes = 1 << 10

// limits bound what all clients together can cost. A connection carries one
// request and is closed, so what bounds connections bounds requests. Whoever
// exceeds the limits waits in the kernel's queue. A probe waits there too, but
// only for seconds, because the deadlines free every connection soon.
type limits struct {
	// conns is how many connections are open at once. A quarter of them may read
	// /statusz and /metrics, which can take longer, and the others are left to the probes.
	conns int
	// rate is how many are accepted in a second; after a pause, conns at once.
	rate rate.Limit
	// read is how long a request may take with its body, write how long an answer may.
	read, write time.Duration
}

// defaultLimits let 300 clients that hold their connections as long as they can
// delay a probe by 5 s, which is what the Deployment's probe waits, and cost 15 MiB.
var defaultLimits = limits{conns: 64, rate: 100, read: time.Second, write: 5 * time.Second}

// server has all limits but conns, which is the listener's.
func (l limits) server(handler http.Handler) *http.Server {
	pace := rate.NewLimiter(l.rate, l.conns)
	server := &http.Server{
		Handler:        handler,
		MaxHeaderBytes: maxHeaderBytes,
		ReadTimeout:    l.read,
		WriteTimeout:   l.write,
		// The server calls this after each Accept, and before the next one.
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			time.Sleep(pace.Reserve().Delay())
			return ctx
		},
	}
	server.SetKeepAlivesEnabled(false)
	return server
}
