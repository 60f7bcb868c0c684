package telemetry

import (
	"bytes"
	"errors"
	stdlog "log"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxHeaderBytes limits a request's header. net/http adds 4 KiB to this limit. It is low
	// because short header lines need 40 times their size in memory.
	maxHeaderBytes = 1 << 10
	// maxPeek is how many bytes of a request determine its kind. They have at most maxPeekLines lines.
	maxPeek, maxPeekLines = 1 << 10, 64
	// complainEvery is the interval between logged errors of the HTTP server.
	complainEvery = time.Minute
)

// limits bounds the total cost of all clients. A connection carries one request and is then
// closed, so a limit on connections is a limit on requests. Clients beyond the limits wait or are
// disconnected. Probes have their own limits, so no other request delays them.
type limits struct {
	// conns limits the open connections. A quarter of them can read /statusz and /metrics.
	conns int
	// rate limits the requests per second. After a pause, up to conns are served at once.
	rate rate.Limit
	// read limits the time to receive a request with its body, and write the time to send a
	// response.
	read, write time.Duration
}

// defaultLimits cost 15 MiB.
var defaultLimits = limits{conns: 64, rate: 80, read: time.Second, write: 5 * time.Second}

// server applies the limits except conns and rate, which the listener applies.
func (l limits) server(handler http.Handler, log *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:        handler,
		MaxHeaderBytes: maxHeaderBytes,
		ReadTimeout:    l.read,
		WriteTimeout:   l.write,
		ErrorLog:       stdlog.New(&complaints{log: log, often: rate.Sometimes{Interval: complainEvery}}, "", 0),
	}
	server.SetKeepAlivesEnabled(false)
	return server
}

type visitorKind int

// The kinds of clients. The server prefers earlier ones.
const (
	probeVisitor visitorKind = iota
	otherVisitor
	silentVisitor  // a client that has sent nothing
	abusiveVisitor // a client that is not served
)

// kindOf returns the kind of a client that has sent head, of which it needs at most maxPeek bytes. A
// probe is a complete request for /livez or /readyz without a body. A client that sends many short
// header lines is abusive, because each takes much memory and time.
func kindOf(head []byte) visitorKind {
	switch {
	case len(head) == 0:
		return silentVisitor
	case bytes.Count(head, []byte("\n")) > maxPeekLines:
		return abusiveVisitor
	}
	text := strings.ToLower(string(head))
	if (strings.HasPrefix(text, "get /livez http/1.") || strings.HasPrefix(text, "get /readyz http/1.")) &&
		strings.HasSuffix(text, "\r\n\r\n") && !strings.Contains(text, "\ncontent-length") && !strings.Contains(text, "\ntransfer-encoding") {
		return probeVisitor
	}
	return otherVisitor
}

// complaints logs the errors that net/http reports, at most one in complainEvery.
type complaints struct {
	log   *slog.Logger
	often rate.Sometimes
}

// Write implements [io.Writer]. It drops the text after a quotation mark, because a client may have
// sent that, and the stack trace of a panic.
func (c *complaints) Write(line []byte) (int, error) {
	c.often.Do(func() {
		text, _, _ := strings.Cut(string(line), "\n")
		text, _, _ = strings.Cut(text, `"`)
		c.log.Warn("HTTP server error", "error", errors.New(text))
	})
	return len(line), nil
}
