package pusher

import (
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/utils/ptr"
)

// record is what is kept of a remote from one sync to the next. mu guards the
// fields below it. Those above it belong to the remote's worker.
type record struct {
	// remote is the client that the record is about.
	remote Remote
	// lookAt is when the remote has to be read with GET again.
	lookAt time.Time
	// settled is what the remote was last given, or found to have. A write that is
	// due while the source still has just that repairs a drift.
	settled Settled
	contest contest

	mu         sync.Mutex
	reach      reachability
	decision   mirror.Decision // without its Secret
	refused    error           // why the newest kubeconfig is refused; nil where it is not
	lastSynced *time.Time
	counts     mirror.Counts // without the requests
}

// forRemote resets the record where the remote has a new client: it may be
// another cluster.
func (r *record) forRemote(remote Remote) {
	if r.remote == remote {
		return
	}
	r.remote, r.lookAt, r.settled, r.contest = remote, time.Time{}, Settled{}, contest{}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reach = reachability{}
}

// mayWrite returns what [Sync] asks before each write: new keys are always
// written, and a drift is repaired as the contest says.
func (r *record) mayWrite(quiet time.Duration) func(*Outcome) bool {
	return func(o *Outcome) (repair bool) {
		undone := o.undone()
		if !undone && !r.settled.is(o.Source) {
			return true
		}
		r.contest, repair = r.contest.drift(time.Now(), quiet, o.Copy.LastWriter(o.Source), undone)
		return repair
	}
}

// ended records how a sync ended, and returns what is shown of it.
func (r *record) ended(o *Outcome, quiet time.Duration) (d mirror.Decision) {
	now := time.Now()
	// A drift that is gone when it is to be repaired counts: a watch can tell of any number.
	repaired := (len(o.Writes) > 0 || o.Results[mirror.ResultConflict] > 0) && r.settled.is(o.Source)
	if o.Settled != (Settled{}) {
		r.settled = o.Settled
	}
	r.contest, d = r.contest.after(now, quiet, o, repaired)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts.Pushes == nil {
		r.counts.Pushes = map[mirror.Result]int{}
	}
	for result, n := range o.Results {
		r.counts.Pushes[result] += n
	}
	r.reach = r.reach.after(d.State, o.Looked)
	if o.Decision.State == mirror.StateSynced {
		r.lastSynced = ptr.To(now.UTC())
	}
	return d
}

// answered says whether a LIST or a WATCH that was answered now cancels the
// remote's back-off.
func (r *record) answered(every time.Duration) (cancels bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reach, cancels = r.reach.answered(time.Now(), every)
	return cancels
}

// state is how the last sync left the remote.
func (r *record) state() mirror.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.decision.State
}

// repaired counts a drift that was undone.
func (r *record) repaired() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Repairs++
}

// status is the remote's status. It compares with the source's keys of now: the
// worker may still be busy with them, and a Synced of before them is out of date.
func (r *record) status(src mirror.Source, c mirror.Copy) mirror.RemoteStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.decision
	if d.State == mirror.StateSynced {
		if now := mirror.Decide(src, c, false); now.State == mirror.StateBehind {
			d = now
		}
	}
	st := c.Status(src, Misconfigured(d, r.refused))
	if d.State != mirror.StateStandby {
		st.LastSynced = r.lastSynced
	}
	st.Counts = mirror.Counts{Pushes: maps.Clone(r.counts.Pushes), Repairs: r.counts.Repairs}
	return st
}

// Misconfigured returns the decision as it is shown if the newest kubeconfig is refused:
// with the last good one still in use, if there is one. A nil error changes nothing.
func Misconfigured(d mirror.Decision, refused error) mirror.Decision {
	if refused == nil {
		return d
	}
	detail := refused.Error()
	if d.State != mirror.StateMisconfigured {
		detail += "; going on with the last good one: " + strings.TrimSpace(string(d.State)+" "+d.Detail)
	}
	return mirror.Decision{State: mirror.StateMisconfigured, Reason: mirror.ReasonKubeconfig, Detail: detail}
}
