package pusher

import (
	"cmp"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// contest distinguishes drift, which is repaired immediately, from a rival that keeps
// undoing our writes. It is an immutable value: each method takes the current time and
// returns the next contest. A contest ends when there has been no drift for the duration
// quiet.
type contest struct {
	on       bool
	drifted  time.Time // when another writer's change was last seen
	repaired time.Time // when drift was last repaired
	rival    string    // the other writer; "" if the API server does not name it
}

// drift records that another writer's change was seen at now. It reports whether to repair the
// change immediately. A contest starts if drift follows a repair within quiet, or if undone is set,
// which means that the change undoes a write of this sync. During a contest, each sync after a
// backoff makes one repair.
func (c contest) drift(now time.Time, quiet time.Duration, rival string, undone bool) (contest, bool) {
	// Keep the last known name: our repair can remove the rival from managedFields.
	c.drifted, c.rival = now, cmp.Or(rival, c.rival)
	if undone || !c.on && now.Sub(c.repaired) < quiet {
		c.on = true
		return c, false
	}
	return c, true
}

// after records a sync that ended at now and returns the decision to show. repaired reports
// whether the sync repaired drift.
//
// If other writers overtook every attempt, a contest starts as well: otherwise, each event
// would cause another attempt, at network speed. A contest ends after quiet without drift,
// or when the remote is held.
func (c contest) after(now time.Time, quiet time.Duration, o *Outcome, repaired bool) (contest, mirror.Decision) {
	if repaired {
		c.repaired = now
	}
	if o.Overtaken {
		c, _ = c.drift(now, quiet, o.Copy.LastWriter(o.Source), true)
	}
	c.on = c.on && now.Sub(c.drifted) < quiet && o.Decision.State != mirror.StateHeld
	undecided := o.Err == nil && (o.Decision.State == mirror.StateBehind || o.Decision.State == mirror.StateSynced)
	if !c.on || !undecided {
		return c, o.Decision
	}
	return c, mirror.Decision{
		State: mirror.StateContested, Reason: mirror.ReasonRival,
		Detail: cmp.Or(c.rival, "an unknown writer") + " repeatedly changes its Secret; fernetcast repairs it with backoff; stop the other writer",
	}
}
