package pusher

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// record is what is remembered of a remote between two syncs. Its worker alone
// uses the fields above mu; those below it guards.
type record struct {
	// remote is the client that the rest is about.
	remote Remote
	// lookAt is when the remote has to be read again.
	lookAt time.Time
	// settled is what the remote was last seen to have, or given. A write that
	// is due with nothing new at the source repairs a drift.
	settled Settled
	// drifted is when a drift was seen last, repaired when one was repaired last.
	drifted, repaired time.Time
	// repairing says that this sync has found a drift to repair.
	repairing bool
	// rival is the other writer that was seen last.
	rival string

	mu         sync.Mutex
	contested  bool
	decision   mirror.Decision // the zero Decision before the first sync
	refused    error           // why the newest kubeconfig is
	lastSynced *time.Time
}

// admit lets a write go that is the first repair of a drift, or no repair at
// all. A second drift within quiet of our repair is a contest: it waits for
// the back-off, and then is repaired at each turn.
func (r *record) admit(quiet time.Duration) func(*Outcome) (mirror.Decision, bool) {
	turn := r.isContested()
	return func(o *Outcome) (mirror.Decision, bool) {
		undone := o.undone() // what came back is not what was sent
		if !undone && (o.Source.Owner() != r.settled.Owner || o.Source.Fingerprints() != r.settled.Keys) {
			return o.Decision, true
		}
		r.disturbed(o.Copy)
		if undone || !turn && r.drifted.Sub(r.repaired) < quiet {
			r.setContested(true)
			return r.contest(), false
		}
		r.repairing = true
		return o.Decision, true
	}
}

// disturbed notes that somebody else wrote what the copy has.
func (r *record) disturbed(c mirror.Copy) {
	r.drifted = time.Now()
	if rival := c.LastWriter(); rival != "" { // our repair may take its last field from it
		r.rival = rival
	}
}

// contest is what is shown of a remote with a rival.
func (r *record) contest() mirror.Decision {
	return mirror.Decision{
		State: mirror.StateContested, Reason: mirror.ReasonRival,
		Detail: "its Secret is changed again and again by " + cmp.Or(r.rival, "somebody who is not named there") + "; it is repaired now and then; stop the other writer",
	}
}

// settle notes what a sync came to. A write that was overtaken at every try is
// a contest too: each event would be another try, at network speed. It says
// whether a contest has ended: there was no drift for as long as quiet, or
// nothing is to be written any more.
func (r *record) settle(o *Outcome, quiet time.Duration) (over bool) {
	now := time.Now()
	synced := o.Decision.State == mirror.StateSynced
	if o.Settled != (Settled{}) {
		r.settled = o.Settled
	}
	if len(o.Writes) > 0 && r.repairing {
		r.repaired = now
	}
	r.repairing = false
	if o.Overtaken {
		r.disturbed(o.Copy)
		r.setContested(true)
		o.Decision = r.contest()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if synced {
		at := now.UTC()
		r.lastSynced = &at
	}
	if r.contested && (now.Sub(r.drifted) >= quiet || o.Decision.State == mirror.StateHeld) {
		r.contested = false
		return true
	}
	if r.contested && synced {
		o.Decision = r.contest()
	}
	return false
}

// forRemote forgets what was of another client, and maybe of another cluster.
func (r *record) forRemote(remote Remote) {
	if r.remote == remote {
		return
	}
	r.remote, r.lookAt, r.settled, r.repaired = remote, time.Time{}, Settled{}, time.Time{}
	r.setContested(false)
}

func (r *record) isContested() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.contested
}

func (r *record) setContested(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.contested = is
}

// note keeps what was decided of the remote, and logs it when that is another than before.
func (r *record) note(log *slog.Logger, d mirror.Decision, refused error) {
	d.Secret = nil // it has keys, and is not needed any more
	r.mu.Lock()
	before, refusedBefore := r.decision, r.refused
	r.decision, r.refused = d, refused
	r.mu.Unlock()
	same := d.State == before.State && d.Detail == before.Detail && (refused == nil) == (refusedBefore == nil)
	if same || d.State == mirror.StatePending { // at each start, and no news
		return
	}
	level := slog.LevelInfo
	if !d.State.Well() {
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, "remote is "+string(d.State), "reason", string(d.Reason), "detail", d.Detail)
}

// status is how the remote stands, with what is seen of it now: a worker may
// be busy with it since the source changed.
func (r *record) status(name, server string, src mirror.Source, c mirror.Copy) mirror.RemoteStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.decision
	if d.State == "" {
		d = mirror.Decision{State: mirror.StatePending, Reason: mirror.ReasonNotLookedAt, Detail: "not looked at yet"}
	}
	if now := mirror.Decide(src, c, false); d.State == mirror.StateSynced && now.State == mirror.StateBehind {
		d = now
	}
	st := c.Status(src, Refused(d, r.refused))
	st.Name, st.Server, st.LastSynced = name, server, r.lastSynced
	return st
}

// Refused is the decision as it is shown where the newest kubeconfig is
// refused, and the last good one, if any, is in use; nil changes nothing.
func Refused(d mirror.Decision, refused error) mirror.Decision {
	if refused == nil {
		return d
	}
	detail := refused.Error()
	if d.State != mirror.StateMisconfigured {
		detail += "; going on with the last good one: " + strings.TrimSpace(string(d.State)+" "+d.Detail)
	}
	return mirror.Decision{State: mirror.StateMisconfigured, Reason: mirror.ReasonKubeconfig, Detail: detail}
}
