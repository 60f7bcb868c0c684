package telemetry

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

const (
	// freshFor is how long a document is reused. A document that is slow to create is reused for
	// freshTimes its creation time, so that clients can use at most a twentieth of a core.
	freshFor   = time.Second
	freshTimes = 20
)

// document caches the response of a handler to a plain GET. The response is created at most once
// per second, and all clients get the same bytes.
type document struct {
	make    http.Handler
	readers chan struct{} // its capacity limits concurrent reads of documents

	mu    sync.Mutex
	until time.Time // when last must be replaced
	last  *page
}

// ServeHTTP implements [http.Handler].
func (d *document) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	select {
	case d.readers <- struct{}{}:
		defer func() { <-d.readers }()
	default:
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, "too many concurrent clients; retry in a second\n")
		return
	}
	p := d.latest()
	w.Header().Set("Content-Type", p.header.Get("Content-Type"))
	w.WriteHeader(p.code)
	// This fails only if the client is gone.
	_, _ = w.Write(p.Bytes())
}

// latest returns the document. The caller must not modify it.
func (d *document) latest() *page {
	d.mu.Lock()
	defer d.mu.Unlock()
	if began := time.Now(); !began.Before(d.until) {
		last := d.last
		d.last = &page{header: http.Header{}, code: http.StatusOK}
		if last != nil { // without this, growing the buffer to a megabyte would allocate two more
			d.last.Grow(last.Len() + last.Len()/8)
		}
		// Use our own request, so that no client's request affects the response to the others.
		d.make.ServeHTTP(d.last, &http.Request{Method: http.MethodGet, Header: http.Header{}})
		d.until = began.Add(max(freshFor, freshTimes*time.Since(began)))
	}
	return d.last
}

// page stores the response of a handler.
type page struct {
	bytes.Buffer
	header http.Header
	code   int
}

// Header implements [http.ResponseWriter].
func (p *page) Header() http.Header { return p.header }

// WriteHeader implements [http.ResponseWriter].
func (p *page) WriteHeader(code int) { p.code = code }

// statusJSON returns the handler of /statusz.
func statusJSON(status func() mirror.Status) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.MarshalIndent(status(), "", "  ")
		if err != nil {
			answer(w, http.StatusInternalServerError, "encoding the status: "+err.Error()+"\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(text, '\n'))
	}
}
