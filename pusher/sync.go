package pusher

import (
	"cmp"
	"context"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// Source provides the keys. Implementations must be safe for concurrent use.
type Source interface {
	// Seen returns the last known source and reports whether it is fresh.
	Seen() (mirror.Source, bool)
	// Get reads the source from etcd. The request starts after the call.
	Get(ctx context.Context) (mirror.Source, error)
}

// Remote is a cluster that holds a copy. Copy must be safe for concurrent use. Look and
// Write are never called concurrently.
type Remote interface {
	// Copy returns the last known copy, and when a GET or the watch last confirmed it. The
	// time is zero if the copy must be read before a decision.
	Copy() (mirror.Copy, time.Time)
	// Look reads the copy with GET.
	Look(ctx context.Context) (mirror.Copy, error)
	// Write sends the Secret of a decision by compare-and-swap and returns the resulting
	// copy.
	Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error)
}

// conflicts is the default for Sync.Tries.
const conflicts = 5

// Sync updates one remote: look, decide, write.
type Sync struct {
	Source Source
	// Known is the UID of the copy that was last written or found Synced, or "". Before any
	// other object is written, the source is read live. That object could be the source
	// itself: a kubeconfig may point to the main region, and the source may have been
	// restored from a copy's manifest that our watch has not delivered yet.
	Known types.UID
	// Force pushes even if the source does not continue the pushed keys.
	Force bool
	// Tries limits the number of overtaken writes before the remote is requeued. If 0, the
	// limit is conflicts.
	Tries int
	// MayWrite reports whether to send the pending write. If it returns false, the sync
	// ends. If nil, every write is sent. It must not retain or modify the Outcome.
	MayWrite func(*Outcome) bool
}

// Outcome is the result of a sync.
type Outcome struct {
	Source   mirror.Source
	Copy     mirror.Copy
	Decision mirror.Decision
	// Looked reports whether the remote responded to a GET.
	Looked bool
	// Writes are the completed writes, in order.
	Writes []mirror.Decision
	// Results counts the sent writes by result; nil if there were none.
	Results map[mirror.Result]int
	// Settled identifies the keys that the remote was last given or, if it was already Synced, that
	// it had. It is zero in all other cases.
	Settled Settled
	// Overtaken reports whether another writer, other than our own replicas, was faster at
	// every attempt.
	Overtaken bool
	// Err is why the remote, or the source during a live read, did not respond as expected;
	// nil if both did.
	Err error

	decisions int // number of calls to mirror.Decide
}

// Settled identifies the keys that fernetcast stored in a remote: their owner, their
// fingerprints, and the UID of the Secret.
type Settled struct {
	Owner mirror.Owner
	Keys  string
	UID   types.UID
}

// matches reports whether the source still has the same owner and keys.
func (s Settled) matches(src mirror.Source) bool {
	return s.Owner == src.Owner() && s.Keys == src.Fingerprints()
}

func (o *Outcome) settledNow() Settled {
	return Settled{o.Source.Owner(), o.Source.Fingerprints(), o.Copy.UID()}
}

// Run updates the remote. It reads the remote first if look is set or if the last known
// copy is not confirmed. It returns when nothing is left to write or when a request fails; in
// the latter case, the outcome's decision is the failure. Do not call Run concurrently for
// the same remote.
func (s Sync) Run(ctx context.Context, remote Remote, look bool) *Outcome {
	seen, confirmed := remote.Copy()
	o, before := &Outcome{Copy: seen}, seen.Fingerprints()
	look = look || confirmed.IsZero()
	for tries := 0; ; {
		var decided bool
		o.Source, _ = s.Source.Seen()
		if o.Decision, decided = mirror.DecideBySource(o.Source); decided {
			return o
		}
		if look {
			seen, err := remote.Look(ctx)
			if err != nil {
				return o.failed(err)
			}
			o.Copy, o.Looked, look = seen, true, false
			continue // start over with the newest source
		}
		if s.decide(ctx, o); o.Decision.Action == mirror.ActionNone {
			if o.Decision.State == mirror.StateSynced {
				o.Settled = o.settledNow()
			}
			return o
		}
		if tries == cmp.Or(s.Tries, conflicts) {
			byReplica := o.Copy.AsPushedBy(o.Source) && !o.Copy.Fingerprints().Equal(before)
			o.Overtaken = o.Results[mirror.ResultConflict] == tries && !byReplica
			return o
		}
		if s.MayWrite != nil && !s.MayWrite(o) {
			return o
		}
		tries++
		var err error
		if look, err = o.write(ctx, remote); err != nil {
			return o.failed(err)
		}
	}
}

// write sends the decision's Secret. It reports whether another writer was faster, so that
// the remote must be read again.
func (o *Outcome) write(ctx context.Context, remote Remote) (overtaken bool, err error) {
	seen, err := remote.Write(ctx, o.Decision)
	switch {
	case err == nil:
		o.count(mirror.ResultPushed)
		o.Copy = seen
		o.Writes = append(o.Writes, o.Decision)
		o.Settled = o.settledNow()
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err) && o.Decision.Action == mirror.ActionUpdate:
		o.count(mirror.ResultConflict)
		return true, nil
	default:
		o.count(mirror.ResultOf(err))
	}
	return false, err
}

func (o *Outcome) count(r mirror.Result) {
	if o.Results == nil {
		o.Results = map[mirror.Result]int{}
	}
	o.Results[r]++
}

// undone reports whether the last write came from the source's current version. If another write is
// then due, the remote stores something other than the sent Secret.
func (o *Outcome) undone() bool {
	n := len(o.Writes)
	return n > 0 && o.Writes[n-1].Secret.Annotations[mirror.StampVersion] == o.Source.ResourceVersion()
}

// decide sets the decision. If it depends on a live read, decide reads the source and
// decides again. The copy was read before that, so compare-and-swap turns any write since
// then into a conflict. If the live read fails, nothing is written.
func (s Sync) decide(ctx context.Context, o *Outcome) {
	o.decideNow(s.Force)
	if !o.Decision.LiveRead && (o.Decision.Action == mirror.ActionNone || o.Copy.UID() == s.Known) {
		return
	}
	src, err := s.Source.Get(ctx)
	if err != nil {
		o.Decision.Action, o.Decision.State, o.Err = mirror.ActionNone, mirror.StateBehind, err
		o.Decision.Detail = "the source cannot be read: " + mirror.Explain(err)
		o.Decision = o.Decision.Redacted(o.Source, o.Copy)
		return
	}
	o.Source = src
	o.decideNow(s.Force)
}

func (o *Outcome) decideNow(force bool) {
	o.decisions++
	o.Decision = mirror.Decide(o.Source, o.Copy, force)
}

// Look reads the remote and decides, without changing anything. If the remote does not
// respond, that is a failure only if the decision depends on the copy.
func (s Sync) Look(ctx context.Context, remote Remote) *Outcome {
	o := &Outcome{}
	o.Source, _ = s.Source.Seen()
	var decided bool
	o.Copy, o.Err = remote.Look(ctx)
	if o.Decision, decided = mirror.DecideBySource(o.Source); decided {
		return o
	}
	if o.Err != nil {
		return o.failed(o.Err)
	}
	s.decide(ctx, o)
	return o
}

func (o *Outcome) failed(err error) *Outcome {
	o.Decision, o.Err = mirror.FailureOf(err).Redacted(o.Source, o.Copy), err
	return o
}
