package kube

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clock is a server's, as its answers tell it, to the second. What a server has
// recorded is dated by it, so only it can tell how long ago that was.
type clock struct{ last atomic.Pointer[time.Time] }

// read takes the time from an answer's Date (RFC 9110, 6.6.1).
func (c *clock) read(header http.Header) {
	if at, err := http.ParseTime(header.Get("Date")); err == nil {
		c.last.Store(&at)
	}
}

func (c *clock) now() (time.Time, bool) {
	if at := c.last.Load(); at != nil {
		return *at, true
	}
	return time.Time{}, false
}
