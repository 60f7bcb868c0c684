package pusher

import (
	"cmp"
	"context"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// Source is where the keys come from. Its methods may be called concurrently.
type Source interface {
	// Seen returns what was seen last, and whether that is fresh.
	Seen() (mirror.Source, bool)
	// Get reads the source from etcd, by a request that begins after the call.
	Get(ctx context.Context) (mirror.Source, error)
}

// Remote is one cluster that is to have a copy. All but Look and Write may be
// called concurrently with all else.
type Remote interface {
	// Copy returns what was seen of the copy last, and whether that is fresh.
	Copy() (mirror.Copy, bool)
	// Look reads the copy with GET.
	Look(ctx context.Context) (mirror.Copy, error)
	// Write sends a decision's Secret, by compare-and-swap, and returns the copy as
	// it is seen then.
	Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error)
}

// conflicts is how many writes a sync tries that another writer overtakes,
// before the remote goes back to the queue.
const conflicts = 5

// Sync brings one remote up to date: look, decide, write.
type Sync struct {
	Source Source
	// Known is the uid of the copy that was last written or found Synced; "" for
	// none. Any other object is written only after the live read: where a
	// kubeconfig points home, it may be the source itself, restored from a copy's
	// manifest, which our watch has not seen yet.
	Known types.UID
	// Force pushes also where the source does not continue what was pushed.
	Force bool
	// Tries is how many writes another writer may overtake before the remote goes
	// back to the queue; 0: conflicts.
	Tries int
	// MayWrite says whether the write that was just decided on may be sent, or the
	// sync ends there; nil: always. It neither keeps nor changes the outcome.
	MayWrite func(*Outcome) bool
}

// Outcome is how a sync ended.
type Outcome struct {
	Source   mirror.Source
	Copy     mirror.Copy
	Decision mirror.Decision
	// Looked says whether the remote was read with GET, and answered.
	Looked bool
	// Writes are the decisions that were carried out, in order.
	Writes []mirror.Decision
	// Results count the writes that were sent; nil where there were none.
	Results map[mirror.Result]int
	// Settled is what the remote was last given, or else was found to have where
	// that is Synced; the zero Settled where there was neither.
	Settled Settled
	// Overtaken says that at each of so many tries another writer wrote first, and
	// that it was no replica of ours.
	Overtaken bool
	// Err is why the remote, or the source in the live read, did not answer
	// as it should; nil where both did.
	Err error

	decisions int // how often mirror.Decide was called
}

// Settled says which keys a remote has of ours: their owner, their fingerprints,
// and the uid of the object they are in.
type Settled struct {
	Owner mirror.Owner
	Keys  string
	UID   types.UID
}

// is says whether the source still has the owner and the keys that are settled.
func (s Settled) is(src mirror.Source) bool {
	return s.Owner == src.Owner() && s.Keys == src.Fingerprints()
}

func (o *Outcome) settledNow() Settled {
	return Settled{o.Source.Owner(), o.Source.Fingerprints(), o.Copy.UID()}
}

// Run brings a remote up to date. It reads the remote first where look is set,
// or where what is known of it is not fresh. It ends when nothing is left to
// write, or with a failure, which is then the outcome's decision. A remote must
// have one Run at a time.
func (s Sync) Run(ctx context.Context, remote Remote, look bool) *Outcome {
	seen, fresh := remote.Copy()
	o, before := &Outcome{Copy: seen}, seen.Fingerprints()
	look = look || !fresh
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
			continue // with the newest source
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

// write carries out the decision. It reports whether another writer was first, so that
// the remote has to be read again.
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

// undone says whether the last write was of the version that the source still
// has. Where another write is due then, what came back is not what was sent.
func (o *Outcome) undone() bool {
	n := len(o.Writes)
	return n > 0 && o.Writes[n-1].Secret.Annotations[mirror.StampVersion] == o.Source.ResourceVersion()
}

// decide decides, and decides again after the live read where one is needed.
// The copy was read before that, so whoever wrote since makes our write a
// conflict. Where the live read fails, what to write is not known, and nothing is.
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

// Look reads a remote and decides, and changes nothing. A remote that does not
// answer is a failure only where its copy is needed to decide.
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
