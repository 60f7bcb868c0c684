package pusher

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// recovery tells a remote that is reached again from one whose watch comes back
// while writes go on failing. It is a pure value: its methods return the recovery
// that follows, and take the time where they need it.
type recovery struct {
	// unreached says that the last sync ended without an answer to a read.
	unreached bool
	// cancelled is when an answer last cancelled the back-off; zero where a sync
	// has succeeded since.
	cancelled time.Time
}

// after follows a sync. read says whether the remote answered a read of it, so
// that only the write failed: then a watch that comes back is no news.
func (r recovery) after(state mirror.State, read bool) recovery {
	r.unreached = state == mirror.StateUnreachable && !read
	if !backsOff(state) {
		r.cancelled = time.Time{}
	}
	return r
}

// answered says whether a LIST or a WATCH that was answered at now cancels the
// back-off: only where the last sync did not reach the remote, and once within
// every until a sync succeeds.
func (r recovery) answered(now time.Time, every time.Duration) (recovery, bool) {
	if !r.unreached || now.Sub(r.cancelled) < every {
		return r, false
	}
	r.cancelled = now
	return r, true
}
