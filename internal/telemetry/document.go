package telemetry

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// freshFor is how long an encoded document is served again.
const freshFor = time.Second

// document is /statusz. However many clients ask for it, it is made once a
// second at most, and all of them get the same bytes.
type document struct {
	status  func() mirror.Status
	readers chan struct{} // its capacity is how many clients read at once

	mu   sync.Mutex
	made time.Time
	text []byte
}

// ServeHTTP implements [http.Handler].
func (d *document) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	select {
	case d.readers <- struct{}{}:
		defer func() { <-d.readers }()
	default:
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, "too many clients read the status at once: ask again in a second\n")
		return
	}
	text, err := d.latest()
	if err != nil {
		answer(w, http.StatusInternalServerError, "encoding the status: "+err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// This fails where the client is gone: then nobody needs the answer.
	_, _ = w.Write(text)
}

// latest returns the encoded document, freshFor old at most. The caller must not change it.
func (d *document) latest() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.text != nil && time.Since(d.made) < freshFor {
		return d.text, nil
	}
	made := time.Now()
	text, err := json.MarshalIndent(d.status(), "", "  ")
	if err != nil {
		return nil, err
	}
	d.made, d.text = made, append(text, '\n')
	return d.text, nil
}
