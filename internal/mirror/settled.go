package mirror

import (
	"fmt"
	"time"
)

// Unsettled returns why a copy in the given state has not provably held the source's keys
// for as long as settle; "" if it has, or if it is the source itself. now is the time of
// the copy's own API server, which dates its writes; zero if unknown. A settle of 0 needs
// no date.
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
