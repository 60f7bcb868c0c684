// Package mirror says what is seen of the source and of a remote's copy, and
// decides what is to be done. It is pure: it sends no request.
package mirror

import (
	"fmt"
	"strings"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/ptr"
)

// State is what is shown of a remote.
type State string

// The states of a remote. All but Synced, Standby and Self want a person's eye.
const (
	Pending       State = "Pending"       // not looked at yet
	Behind        State = "Behind"        // to be written
	Synced        State = "Synced"        // has the source's keys, with our stamp
	Standby       State = "Standby"       // the source is a copy itself
	Self          State = "Self"          // the remote is the source
	Held          State = "Held"          // not written, for a person to decide
	Contested     State = "Contested"     // another writer undoes what we write
	Denied        State = "Denied"        // 401, 403
	Unreachable   State = "Unreachable"   // no answer
	Failed        State = "Failed"        // any other answer
	Misconfigured State = "Misconfigured" // its kubeconfig is refused
)

// Well says whether there is nothing to do and nothing to see to.
func (s State) Well() bool { return s == Synced || s == Standby || s == Self }

// Reason is one word for why: the row of the decision table that was met, or
// what went wrong with a request.
type Reason string

// The reasons, beside those that apimachinery has for an answer's code.
const (
	SourceNotRead   Reason = "SourceNotRead"
	SourceIsAbsent  Reason = "SourceAbsent"
	SourceIsRefused Reason = "SourceRefused"
	SourceIsCopy    Reason = "Copy"
	NotPromoted     Reason = "NotPromoted"
	NotLookedAt     Reason = "NotLookedAt"
	Absent          Reason = "Absent"
	IsSource        Reason = "Self"
	Owned           Reason = "Owned"
	BadStamp        Reason = "Stamp"
	Immutable       Reason = "Immutable"
	OtherType       Reason = "Type"
	Unstamped       Reason = "Unstamped"
	Superseded      Reason = "Superseded"
	Discontinuous   Reason = "Discontinuous"
	Drifted         Reason = "Drifted"
	Rotated         Reason = "Rotated"
	Rivalled        Reason = "Rival"
	BadKubeconfig   Reason = "Kubeconfig"
	OtherAnswer     Reason = "Answer"
	TimedOut        Reason = "Timeout"
	NoConnection    Reason = "Connection"
)

// Action is what is to be done for a remote.
type Action int

// The actions.
const (
	None   Action = iota
	Look          // the copy has to be read first
	Create        // absent: create it, never over one that appeared meanwhile
	Update        // write over the copy that was read, by compare-and-swap
)

// Decision is what is to be done for one remote, and why.
type Decision struct {
	Action Action
	State  State
	Reason Reason
	// Detail is for the operator; "" where there is nothing to say.
	Detail string
	// Secret is what to write with Create or Update, ready to be sent.
	Secret *corev1.Secret
	// LiveRead says that the source must be read with GET, after the copy was
	// read, and all be decided again, before this is acted upon or believed.
	LiveRead bool
}

// Decide says what is to be done for a remote, from what is seen of the source
// and of the remote's copy. force pushes also where the source does not
// continue what was pushed before. It is a pure function; its order is the
// decision table's, and the first row that matches wins.
func Decide(src Source, c Copy, force bool) Decision {
	if d, ok := decideBySource(src); ok {
		return d
	}
	switch {
	case !c.read:
		return Decision{Action: Look, State: Pending, Reason: NotLookedAt, Detail: "not looked at yet"}
	case c.secret == nil: // row 5
		return write(src, c, Create, Absent)
	case c.Is(src): // row 6
		return Decision{State: Self, Reason: IsSource, Detail: "this kubeconfig points at the source itself"}
	}
	if other := c.Rival(src); other.Term > 0 { // row 7
		d := held(Owned, "owned by %s, term %d, which this main (%s, term %d) does not outrank; nothing was changed; if this one is to be the main: fernetcast promote %s",
			other.Region, other.Term, src.owner.Region, src.owner.Term, src.owner.Region)
		d.LiveRead = other.Region == src.owner.Region && other.UID == src.owner.UID // our own next term
		return d
	}
	ours := c.claims.stamp == src.owner
	same := src.set.SameData(c.secret.Data)
	switch {
	case len(c.claims.unreadable) > 0: // row 8
		list := strings.Join(c.claims.unreadable, ", ")
		return held(BadStamp, "stamp: its annotations %s cannot be read, so whose copy it is is not known; nothing was changed; if it is nobody's: remove them there: kubectl annotate secret -n %s %s %s-",
			list, c.secret.Namespace, c.secret.Name, strings.Join(c.claims.unreadable, "- "))
	case same && ours && !c.claims.marked && c.claims.pushed != "" && c.claims.keys.Equal(src.set.Prints()): // row 9
		return Decision{State: Synced}
	case ptr.Deref(c.secret.Immutable, false): // row 10
		return held(Immutable, "immutable: its Secret is; nothing was changed; delete it there and it is made anew")
	case c.secret.Type != src.secret.Type:
		return held(OtherType, "type: its Secret is of type %s, the source's of %s; nothing was changed; delete it there and it is made anew",
			words(string(c.secret.Type)), src.secret.Type)
	case same: // row 11
		return write(src, c, Update, c.difference(src))
	case ours && !force && !src.set.Prints().Continues(c.stamped()): // row 12
		d := held(Discontinuous, "discontinuous: the source's keys do not continue the ones %s has (primary %d, now %d); nothing was changed; to push anyway: fernetcast push %s --force",
			c.remote, c.stamped().Primary(), src.set.Prints().Primary(), c.remote)
		d.LiveRead = true
		return d
	}
	return write(src, c, Update, c.difference(src)) // row 13
}

// decideBySource has the rows for which no remote has to be looked at.
func decideBySource(src Source) (Decision, bool) {
	switch src.State() {
	case SourceUnread: // row 1
		return Decision{State: Pending, Reason: SourceNotRead, Detail: "the source has not been read yet"}, true
	case SourceAbsent: // row 2
		return held(SourceIsAbsent, "source: %s; nothing was changed", src.detail), true
	case SourceRefused:
		return held(SourceIsRefused, "source: %s; nothing was changed; put the source's keys right", src.detail), true
	case SourceStandby: // row 3
		return Decision{State: Standby, Reason: SourceIsCopy, Detail: src.detail}, true
	case SourceUnpromoted: // row 4
		return held(NotPromoted, "not promoted: %s; nothing was changed; if this cluster is the main: %s", src.detail, src.promoteCommand()), true
	}
	return Decision{}, false
}

// promoteCommand is what makes an unpromoted source the main.
func (s Source) promoteCommand() string {
	if len(s.claims.unreadable) > 0 {
		return "fernetcast promote REGION --force"
	}
	return "fernetcast promote REGION"
}

func held(reason Reason, format string, args ...any) Decision {
	return Decision{State: Held, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// write decides for a write, with the live read before it, unless it is the
// plain next step: one rotation on from a copy that is just as we left it.
// Then the stamp itself proves that what is in hand is newer.
func write(src Source, c Copy, action Action, reason Reason) Decision {
	plain := reason == Rotated && older(c.claims.pushed, src.secret.ResourceVersion) &&
		src.set.Prints().NextAfter(c.claims.keys)
	return Decision{
		Action: action, State: Behind, Reason: reason, Detail: describe(src, c, reason),
		Secret: secretFor(src, c), LiveRead: !plain,
	}
}

// difference is why a copy that is there has to be written.
func (c Copy) difference(src Source) Reason {
	switch {
	case c.claims.stamp == Owner{} && !c.IsMain():
		return Unstamped
	case c.claims.stamp != src.owner:
		return Superseded
	case c.asStamped() && !c.prints.Equal(src.set.Prints()):
		return Rotated
	}
	return Drifted
}

func describe(src Source, c Copy, reason Reason) string {
	switch reason {
	case Absent:
		return "it has no such Secret"
	case Unstamped:
		return "its Secret was never stamped: its keys are to be replaced"
	case Superseded:
		return "it is " + c.Whose() + ", which this main outranks"
	case Rotated:
		if n := generations(src.set.Prints(), c.prints); n != nil && *n > 0 {
			return fmt.Sprintf("%d generation%s behind", *n, map[bool]string{true: "", false: "s"}[*n == 1])
		}
		return "it has other keys than the source"
	}
	if writer := c.LastWriter(); writer != "" {
		return "changed there by " + writer
	}
	return "changed there"
}

// generations is how far old is behind p; nil where p does not continue it.
func generations(p, old keyset.Prints) *int {
	if !p.Continues(old) {
		return nil
	}
	return ptr.To(p.Primary() - old.Primary())
}

// older says whether a is surely an older resourceVersion than b.
func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}
