package pusher

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// recovery tells a remote that is reached again from one whose watch comes back
// while writes go on failing. It is a pure value: each method takes the time and
// returns the recovery that follows.
type recovery struct {
	// unreached is when the last sync ended without any answer of the remote; zero
	// where it got one.
	unreached time.Time
	// cancelled is when an answer last cancelled the back-off; zero where a sync
	// has succeeded since.
	cancelled time.Time
}

// after follows a sync that ended at now. read says whether the remote answered
// a read of it, so that only the write failed.
func (r recovery) after(now time.Time, state mirror.State, read bool) recovery {
	r.unreached = time.Time{}
	switch {
	case state == mirror.StateUnreachable && !read:
		r.unreached = now
	case !backsOff(state):
		r.cancelled = time.Time{}
	}
	return r
}

// answered says whether a read that was answered at now, after reads had failed
// since down, cancels the back-off: only where they had failed before the last
// sync did, and once within every until a sync succeeds.
func (r recovery) answered(now, down time.Time, every time.Duration) (recovery, bool) {
	if down.After(r.unreached) || now.Sub(r.cancelled) < every {
		return r, false
	}
	r.cancelled = now
	return r, true
}
