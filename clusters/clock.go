package clusters

import (
	"net/http"
	"sync"
	"time"
)

// clock is a server's, as its answers tell it, to the second. What a server has
// recorded is dated by it, so only it can tell how long ago that was.
type clock struct {
	mu   sync.Mutex
	last time.Time
}

// read takes the time from an answer's Date (RFC 9110, 6.6.1).
func (c *clock) read(header http.Header) {
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = at
}

func (c *clock) now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, !c.last.IsZero()
}
