package telemetry

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// freshFor is how long a document is served again.
const freshFor = time.Second

// document is what a handler answers to a plain GET. However many clients ask for
// it, it is made once a second at most, and all of them get the same bytes.
type document struct {
	make    http.Handler
	readers chan struct{} // its capacity is how many clients read documents at once

	mu   sync.Mutex
	made time.Time
	last *page
}

// ServeHTTP implements [http.Handler].
func (d *document) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	select {
	case d.readers <- struct{}{}:
		defer func() { <-d.readers }()
	default:
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, "too many clients read at once: ask again in a second\n")
		return
	}
	p := d.latest()
	w.Header().Set("Content-Type", p.header.Get("Content-Type"))
	w.WriteHeader(p.code)
	// This fails where the client is gone: then nobody needs the answer.
	_, _ = w.Write(p.Bytes())
}

// latest returns the document, freshFor old at most. The caller must not change it.
func (d *document) latest() *page {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil || time.Since(d.made) >= freshFor {
		d.made, d.last = time.Now(), &page{header: http.Header{}, code: http.StatusOK}
		// A request of our own, so that no client chooses what all others get.
		d.make.ServeHTTP(d.last, &http.Request{Method: http.MethodGet, Header: http.Header{}})
	}
	return d.last
}

// page keeps what a handler answers.
type page struct {
	bytes.Buffer
	header http.Header
	code   int
}

// Header implements [http.ResponseWriter], as do the others.
func (p *page) Header() http.Header { return p.header }

// WriteHeader keeps the code.
func (p *page) WriteHeader(code int) { p.code = code }

// statusJSON is the document of /statusz.
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
