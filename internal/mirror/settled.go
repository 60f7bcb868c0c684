package mirror

import (
	"fmt"
	"time"
)

// Unsettled explains why it isn't proven that a copy in the given state has held the source's keys
// for the duration settle. It returns "" if this is proven or the copy is the source itself. now is
// the time according to the copy's own API server, whose clock also dates writes, or zero if
// unknown. If settle is 0, the times don't matter.
func (c Copy) Unsettled(state State, now time.Time, settle time.Duration) string {
	switch {
	case state == StateSelf:
		return ""
	case state != StateSynced:
		return string(state)
	case settle == 0:
		return ""
	}
	since := c.HeldSince()
	if since == nil || now.IsZero() {
		return "Synced, but it is unknown since when"
	}
	if held := now.Sub(*since); held < settle {
		return fmt.Sprintf("Synced for %s", max(0, held))
	}
	return ""
}
