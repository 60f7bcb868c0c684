package pusher

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// reachability distinguishes a remote that is reached again from one whose watch comes
// back while writes keep failing. It is a pure value: its methods return the next
// reachability, and take the time as an argument.
type reachability struct {
	// unreached reports that the last sync ended without an answer to a read.
	unreached bool
	// canceled is when an answer last canceled the backoff; zero if a sync has
	// succeeded since then.
	canceled time.Time
}

// after follows a sync. read reports whether the remote answered the sync's read, so that
// only the write failed: then a watch that comes back is not news.
func (r reachability) after(state mirror.State, read bool) reachability {
	r.unreached = state == mirror.StateUnreachable && !read
	if !backsOff(state) {
		r.canceled = time.Time{}
	}
	return r
}

// answered reports whether a LIST or a WATCH that was answered at now cancels the backoff:
// only if the last sync did not reach the remote, and once within every until a sync
// succeeds.
func (r reachability) answered(now time.Time, every time.Duration) (reachability, bool) {
	if !r.unreached || now.Sub(r.canceled) < every {
		return r, false
	}
	r.canceled = now
	return r, true
}
