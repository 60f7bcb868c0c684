package pusher

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// reachability distinguishes a remote that can be reached again from a remote whose watch
// reconnects while writes keep failing. It is an immutable value: each method returns the
// next reachability.
type reachability struct {
	// unreached reports whether the last sync got no response to a read.
	unreached bool
	// canceled is when a response last canceled the backoff; zero if a sync has succeeded
	// since then.
	canceled time.Time
}

// after records a sync. read reports whether the remote responded to the sync's read. If it
// did, only the write failed, and a reconnecting watch is not news.
func (r reachability) after(state mirror.State, read bool) reachability {
	r.unreached = state == mirror.StateUnreachable && !read
	if !backsOff(state) {
		r.canceled = time.Time{}
	}
	return r
}

// answered reports whether a LIST or WATCH response at now cancels the backoff. It does so
// only if the last sync did not reach the remote, and at most once per every until a sync
// succeeds.
func (r reachability) answered(now time.Time, every time.Duration) (reachability, bool) {
	if !r.unreached || now.Sub(r.canceled) < every {
		return r, false
	}
	r.canceled = now
	return r, true
}
