package pusher

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// reachability tells a remote that is reached again from one whose watch comes back
// while writes go on failing. It is a pure value: its methods return the
// reachability that follows, and take the time where they need it.
type reachability struct {
	// unreached says that the last sync ended without an answer to a read.
	unreached bool
	// canceled is when an answer last canceled the back-off; zero where a sync
	// has succeeded since.
	canceled time.Time
}

// after follows a sync. read says whether the remote answered a read of it, so
// that only the write failed: then a watch that comes back is no news.
func (r reachability) after(state mirror.State, read bool) reachability {
	r.unreached = state == mirror.StateUnreachable && !read
	if !backsOff(state) {
		r.canceled = time.Time{}
	}
	return r
}

// answered says whether a LIST or a WATCH that was answered at now cancels the
// back-off: only where the last sync did not reach the remote, and once within
// every until a sync succeeds.
func (r reachability) answered(now time.Time, every time.Duration) (reachability, bool) {
	if !r.unreached || now.Sub(r.canceled) < every {
		return r, false
	}
	r.canceled = now
	return r, true
}
