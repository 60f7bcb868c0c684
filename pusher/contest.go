package pusher

import (
	"cmp"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// contest tells a drift, which is repaired at once, from a rival: another
// writer who undoes our writes again and again. It is a pure value: each method
// takes the time and returns the contest that follows. quiet is how long a
// contested remote has to be without drift until the contest is over.
type contest struct {
	on       bool
	drifted  time.Time // when another's write was last seen
	repaired time.Time // when such a write was last undone
	rival    string    // who made it; "" where the API server names nobody
}

// drift records that another's write was seen at now, and says whether to undo
// it at once. A second one within quiet of a repair begins a contest, and so
// does one that undoes what this sync has written. A sync of a contested remote
// is its turn after a back-off: it makes one repair.
func (c contest) drift(now time.Time, quiet time.Duration, rival string, undone bool) (contest, bool) {
	c.drifted, c.rival = now, cmp.Or(rival, c.rival) // our own repair may take the rival's last field, and its name
	if undone || !c.on && now.Sub(c.repaired) < quiet {
		c.on = true
		return c, false
	}
	return c, true
}

// after follows a sync that ended at now, and returns what is shown of it. A
// write that another overtook at every try begins a contest too: each event
// would be another try, at network speed. A contest ends when there was no drift
// for as long as quiet, or when nothing is to be written any more. repaired says
// whether the sync has undone a drift.
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
		Detail: "its Secret is changed again and again by " + cmp.Or(c.rival, "somebody who is not named there") + "; it is repaired now and then; stop the other writer",
	}
}
