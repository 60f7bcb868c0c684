package pusher

import (
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/utils/ptr"
)

// record holds the pusher's data about a remote between syncs. mu guards the fields below it. The
// remote's worker owns the fields above it.
type record struct {
	// remote is the client that this record describes.
	remote Remote
	reads  reads
	// settled identifies the keys that the remote was last given or found to have. If the source
	// still has the same keys, a pending write repairs drift.
	settled Settled
	contest contest

	mu         sync.Mutex
	reach      reachability
	decision   mirror.Decision // without its Secret
	refused    error           // why the newest kubeconfig is rejected, or nil
	lastSynced *time.Time
	counts     mirror.Counts // without the counts of requests
}

// forRemote resets the record if the remote has a new client, because it can be another
// cluster.
func (r *record) forRemote(remote Remote) {
	if r.remote == remote {
		return
	}
	r.remote, r.reads, r.settled, r.contest = remote, reads{}, Settled{}, contest{}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reach = reachability{}
}

// mayWrite returns a [Sync.MayWrite] function. It allows every write of new keys, and
// repairs of drift as the contest permits.
func (r *record) mayWrite(quiet time.Duration) func(*Outcome) bool {
	return func(o *Outcome) (repair bool) {
		undone := o.undone()
		if !undone && !r.settled.matches(o.Source) {
			return true
		}
		r.contest, repair = r.contest.drift(time.Now(), quiet, o.Copy.LastWriter(o.Source), undone)
		return repair
	}
}

// ended records the outcome of a sync and returns the decision to show.
func (r *record) ended(o *Outcome, quiet time.Duration) (d mirror.Decision) {
	now := time.Now()
	// A conflict counts as a repair, because the remote could provoke any number of them
	// with its watch.
	repaired := (len(o.Writes) > 0 || o.Results[mirror.ResultConflict] > 0) && r.settled.matches(o.Source)
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

// answered reports whether a LIST or WATCH response received now cancels the remote's
// backoff.
func (r *record) answered(every time.Duration) (cancels bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reach, cancels = r.reach.answered(time.Now(), every)
	return cancels
}

// state returns the state after the last sync.
func (r *record) state() mirror.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.decision.State
}

// repaired counts a repaired drift.
func (r *record) repaired() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Repairs++
}

// status returns the remote's status, compared with the source's current keys. A worker may
// still be pushing them, so a Synced from before a rotation is outdated.
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

// Misconfigured returns the decision to show when the newest kubeconfig is rejected. It
// mentions that the last valid kubeconfig stays in use, if there is one. If refused is nil,
// it returns d.
func Misconfigured(d mirror.Decision, refused error) mirror.Decision {
	if refused == nil {
		return d
	}
	detail := refused.Error()
	if d.State != mirror.StateMisconfigured {
		detail += "; still using the last good kubeconfig: " + strings.TrimSpace(string(d.State)+" "+d.Detail)
	}
	return mirror.Decision{State: mirror.StateMisconfigured, Reason: mirror.ReasonKubeconfig, Detail: detail}
}
