package pusher

import (
	"context"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// Source is where the keys come from. A watcher of the source Secret is one.
type Source interface {
	// Seen is what was seen last, and whether that is fresh.
	Seen() (mirror.Source, bool)
	// Get reads it from etcd, by a request that begins after the call.
	Get(ctx context.Context) (mirror.Source, error)
}

// Remote is one cluster that is to have a copy.
type Remote interface {
	// Copy is what was seen last, and whether that is fresh.
	Copy() (mirror.Copy, bool)
	// Look reads it.
	Look(ctx context.Context) (mirror.Copy, error)
	// Write sends a decision's Secret, by compare-and-swap, and returns what is seen then.
	Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error)
	// Address is the server's.
	Address() string
}

// conflicts is how often a write that was overtaken is decided again at once,
// before it goes back to the queue.
const conflicts = 5

// Sync is one remote's sync: look, decide, write.
type Sync struct {
	Source Source
	// Known is the uid of the copy that was last settled with; "" for none. No
	// other object is written over without the live read: where a kubeconfig
	// points home, it may be the source, made anew from a copy's manifest, which
	// our watch has not seen yet.
	Known types.UID
	// Force pushes also where the source does not continue what was pushed.
	Force bool
	// Admit may put off the write that was decided on, and says what is shown
	// instead; nil admits all. It neither keeps nor changes the outcome.
	Admit func(*Outcome) (mirror.Decision, bool)
}

// Outcome is what a sync came to.
type Outcome struct {
	Source   mirror.Source
	Copy     mirror.Copy
	Decision mirror.Decision
	// Looked says whether the remote was read with GET.
	Looked bool
	// Writes are the decisions that were carried out, in order.
	Writes []mirror.Decision
	// Settled is what the last write of these gave, or what was found Synced; the
	// zero Settled where there was neither.
	Settled Settled
	// Overtaken says that somebody who is none of us wrote first, at each of so
	// many tries.
	Overtaken bool
	// Err is why the remote, or the source in the live read, did not answer
	// as it should; nil where both did.
	Err error
}

// Settled is what a remote has of ours: whose keys, which, and in which object.
type Settled struct {
	Owner mirror.Owner
	Keys  string
	UID   types.UID
}

func (o *Outcome) settledNow() Settled {
	return Settled{o.Source.Owner(), o.Source.Fingerprints(), o.Copy.UID()}
}

// Run syncs a remote. With look it is read first, else only where what is
// known of it is not fresh. It ends when nothing is left to write, or by a
// failure, which is then the outcome's decision. One at a time may run for a remote.
func (s Sync) Run(ctx context.Context, remote Remote, look bool) *Outcome {
	seen, fresh := remote.Copy()
	o, before := &Outcome{Copy: seen}, seen.Fingerprints()
	for tries, overtaken := 0, 0; ; {
		o.Source, _ = s.Source.Seen()
		// Without a copy only the rows that need none decide.
		if o.Decision = mirror.Decide(o.Source, mirror.Copy{}, s.Force); o.Decision.Action != mirror.ActionLook {
			return o
		}
		if look || !fresh {
			seen, err := remote.Look(ctx)
			if err != nil {
				return o.failed(err)
			}
			o.Copy, o.Looked, look, fresh = seen, true, false, true
			continue
		}
		if err := s.decide(ctx, o); err != nil {
			return o.unread(err)
		}
		if o.Decision.Action == mirror.ActionNone {
			if o.Decision.State == mirror.StateSynced {
				o.Settled = o.settledNow()
			}
			return o
		}
		if tries == conflicts {
			another := o.Copy.AsPushedBy(o.Source) && !o.Copy.Fingerprints().Equal(before) // replica
			o.Overtaken = overtaken == tries && !another
			return o
		}
		if s.Admit != nil {
			if instead, ok := s.Admit(o); !ok {
				o.Decision = instead
				return o
			}
		}
		tries++
		seen, err := remote.Write(ctx, o.Decision)
		switch {
		case err == nil:
			o.Copy = seen
			o.Writes = append(o.Writes, o.Decision)
			o.Settled = o.settledNow()
		case apierrors.IsConflict(err) || apierrors.IsNotFound(err) && o.Decision.Action == mirror.ActionUpdate:
			look = true
			overtaken++
		default:
			return o.failed(err)
		}
	}
}

// wroteThis says whether the last write was of just what the source has now.
func (o *Outcome) wroteThis() bool {
	n := len(o.Writes)
	return n > 0 && o.Writes[n-1].Secret.Annotations[mirror.StampVersion] == o.Source.ResourceVersion()
}

// decide decides, with the live read where it is called for. The copy was read
// before, so whoever wrote since makes our write a conflict.
func (s Sync) decide(ctx context.Context, o *Outcome) error {
	o.Decision = mirror.Decide(o.Source, o.Copy, s.Force)
	if !o.Decision.LiveRead && (o.Decision.Action == mirror.ActionNone || o.Copy.UID() == s.Known) {
		return nil
	}
	src, err := s.Source.Get(ctx)
	if err != nil {
		return err
	}
	o.Source = src
	o.Decision = mirror.Decide(src, o.Copy, s.Force)
	return nil
}

// Look reads a remote and says how it stands, and changes nothing.
func (s Sync) Look(ctx context.Context, remote Remote) *Outcome {
	o := &Outcome{}
	var err error
	o.Source, _ = s.Source.Seen()
	if o.Copy, err = remote.Look(ctx); err != nil {
		o.Err = err
		if o.Decision = mirror.Decide(o.Source, mirror.Copy{}, s.Force); o.Decision.Action == mirror.ActionLook {
			return o.failed(err)
		}
		return o
	}
	if err := s.decide(ctx, o); err != nil {
		return o.unread(err)
	}
	return o
}

func (o *Outcome) failed(err error) *Outcome {
	o.Decision, o.Err = mirror.FailureOf(err), err
	return o
}

// unread makes it the outcome where the live read failed: the remote is as it
// was, and it is not known what to write.
func (o *Outcome) unread(err error) *Outcome {
	o.Decision.Action = mirror.ActionNone
	o.Decision.State = mirror.StateBehind
	o.Decision.Detail = "the source cannot be read: " + mirror.Explain(err)
	o.Err = err
	return o
}
