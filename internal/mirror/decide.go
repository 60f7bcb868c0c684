// Package mirror models the source and the remotes' copies, and decides what to write. It
// is pure: it sends no requests.
package mirror

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/ptr"
)

// State is the state of a remote, as shown to operators.
type State string

// States of a remote. All except Synced, Standby, and Self exit with code 1.
const (
	StatePending       State = "Pending"       // not read yet
	StateBehind        State = "Behind"        // a write is due
	StateSynced        State = "Synced"        // has the source's keys and our stamp
	StateStandby       State = "Standby"       // the source is itself a copy
	StateSelf          State = "Self"          // the remote is the source
	StateHeld          State = "Held"          // not written until an operator decides
	StateContested     State = "Contested"     // another writer keeps undoing our writes
	StateDenied        State = "Denied"        // 401 or 403
	StateUnreachable   State = "Unreachable"   // no response
	StateFailed        State = "Failed"        // any other response
	StateMisconfigured State = "Misconfigured" // the kubeconfig is rejected
)

// Well reports whether nothing is left to do, for fernetcast or an operator.
func (s State) Well() bool { return s == StateSynced || s == StateStandby || s == StateSelf }

// Reason identifies the row of the decision table that matched, or the kind of a failed
// request.
type Reason string

// Reasons, in addition to apimachinery's reasons for HTTP status codes.
const (
	ReasonSourceUnread  Reason = "SourceNotRead"
	ReasonSourceAbsent  Reason = "SourceAbsent"
	ReasonSourceRefused Reason = "SourceRefused"
	ReasonSourceCopy    Reason = "Copy"
	ReasonNotPromoted   Reason = "NotPromoted"
	ReasonNotLookedAt   Reason = "NotLookedAt"
	ReasonAbsent        Reason = "Absent"
	ReasonSelf          Reason = "Self"
	ReasonImpostor      Reason = "Impostor"
	ReasonOwned         Reason = "Owned"
	ReasonStamp         Reason = "Stamp"
	ReasonImmutable     Reason = "Immutable"
	ReasonType          Reason = "Type"
	ReasonUnstamped     Reason = "Unstamped"
	ReasonSuperseded    Reason = "Superseded"
	ReasonDiscontinuous Reason = "Discontinuous"
	ReasonDrifted       Reason = "Drifted"
	ReasonRequested     Reason = "Requested"
	ReasonRotated       Reason = "Rotated"
	ReasonRival         Reason = "Rival"
	ReasonKubeconfig    Reason = "Kubeconfig"
	ReasonAnswer        Reason = "Answer"
	ReasonTimeout       Reason = "Timeout"
	ReasonConnection    Reason = "Connection"
)

// Action is the next step for a remote.
type Action int

// Actions.
const (
	ActionNone   Action = iota
	ActionLook          // read the copy first
	ActionCreate        // create the missing Secret; fail if it exists by now
	ActionUpdate        // replace the copy that was read, by compare-and-swap
)

// Decision describes what to do with one remote, and why.
type Decision struct {
	Action Action
	State  State
	Reason Reason
	// Detail is a message for the operator; "" if there is nothing to report.
	Detail string
	// Secret is the complete Secret to write for ActionCreate and ActionUpdate.
	Secret *corev1.Secret
	// LiveRead reports whether the decision is provisional. If so, the caller must read the source
	// with a GET that starts after the copy was read, and then decide again.
	LiveRead bool
}

// Decide decides what to do with a remote. Its cases are the rows of the decision table in
// docs/design.md; the first match wins. If force is set, keys are pushed even if the source
// does not continue the pushed keys. Decide is a pure function.
func Decide(src Source, c Copy, force bool) Decision {
	if d, ok := DecideBySource(src); ok {
		return d
	}
	switch {
	case !c.read:
		return Decision{Action: ActionLook, State: StatePending, Reason: ReasonNotLookedAt, Detail: "not read yet"}
	case c.secret == nil: // row 5
		return write(src, c, ActionCreate, ReasonAbsent)
	case c.Is(src): // row 6
		return Decision{State: StateSelf, Reason: ReasonSelf, Detail: "this kubeconfig points to the source itself"}
	case c.secret.UID == src.UID():
		return held(ReasonImpostor, "its Secret has the source's UID, but its kubeconfig is for another cluster; nothing was changed; if its address is wrong: fernetcast join %s; otherwise, find out who answers there", c.place.Remote)
	}
	if other := c.Rival(src); other.Term > 0 { // row 7
		d := held(ReasonOwned, "owned by %s, term %d; this cluster (%s, term %d) needs a higher term to take over; nothing was changed; if this cluster should be the main region: fernetcast promote %s",
			c.redact(src, other.Region), other.Term, src.owner.Region, src.owner.Term, src.owner.Region)
		// A higher term of our own region and UID means that our view of the source is outdated.
		d.LiveRead = other.Region == src.owner.Region && other.UID == src.owner.UID
		return d
	}
	ours := c.claims.stamp == src.owner
	same := src.set.SameData(c.secret.Data)
	switch {
	case len(c.claims.unreadable) > 0: // row 8
		return held(ReasonStamp, "%s; nothing was changed; if no other main region owns it, run: %s annotate secret %s %s-",
			c.claims.unknownOwner(), Kubectl(c.place.Remote, c.place.Namespace), c.place.Secret, strings.Join(c.claims.unreadable, "- "))
	case same && ours && !c.claims.marked && c.claims.pushed != "" && c.claims.keys.Equal(src.set.Fingerprints()): // row 9
		return Decision{State: StateSynced}
	case ptr.Deref(c.secret.Immutable, false): // row 10
		return held(ReasonImmutable, "its Secret is immutable; nothing was changed; delete it there, and it is recreated")
	case c.secret.Type != src.secret.Type:
		return held(ReasonType, "its Secret has type %s, but the source has type %s; nothing was changed; delete it there, and it is recreated",
			c.redact(src, Name(string(c.secret.Type))), Name(string(src.secret.Type)))
	case same: // row 11
		return write(src, c, ActionUpdate, c.difference(src))
	case ours && !force && !src.continues(c.stamped()): // row 12
		d := held(ReasonDiscontinuous, "discontinuous: the source's keys (primary %d) do not continue those pushed to %s (primary %d); nothing was changed; to push anyway: fernetcast push %s --force",
			src.set.Fingerprints().Primary(), c.place.Remote, c.stamped().Primary(), c.place.Remote)
		d.LiveRead = true
		return d
	}
	return write(src, c, ActionUpdate, c.difference(src)) // row 13
}

// DecideBySource applies the rows of the decision table that don't depend on the copy. If none
// matches, it returns false, and the caller must read the remote.
func DecideBySource(src Source) (Decision, bool) {
	switch src.State() {
	case SourceUnread: // row 1
		return Decision{State: StatePending, Reason: ReasonSourceUnread, Detail: "the source has not been read yet"}, true
	case SourceAbsent: // row 2
		return held(ReasonSourceAbsent, "source: %s; nothing was changed; %s", src.detail, src.advice()), true
	case SourceRefused:
		return held(ReasonSourceRefused, "source: %s; nothing was changed; %s", src.detail, src.advice()), true
	case SourceStandby: // row 3
		return Decision{State: StateStandby, Reason: ReasonSourceCopy, Detail: src.detail}, true
	case SourceUnpromoted: // row 4
		return held(ReasonNotPromoted, "not promoted: %s; nothing was changed; %s", src.detail, src.advice()), true
	}
	return Decision{}, false
}

func held(reason Reason, format string, args ...any) Decision {
	return Decision{State: StateHeld, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// write returns a decision to write. The decision requires a live read, except after a normal
// rotation: the copy is exactly as we left it, and the source is one rotation ahead. Then the stamp
// already proves that our keys are newer.
func write(src Source, c Copy, action Action, reason Reason) Decision {
	plain := reason == ReasonRotated && older(c.claims.pushed, src.secret.ResourceVersion) &&
		src.set.Fingerprints().NextAfter(c.claims.keys)
	return Decision{
		Action: action, State: StateBehind, Reason: reason, Detail: describe(src, c, reason),
		Secret: secretFor(src, c), LiveRead: !plain,
	}
}

// difference returns the reason why an existing copy must be written.
func (c Copy) difference(src Source) Reason {
	switch {
	case c.claims.stamp == Owner{} && c.Main() == Owner{}:
		return ReasonUnstamped
	case c.claims.stamp != src.owner:
		return ReasonSuperseded
	case c.asStamped() && !c.prints.Equal(src.set.Fingerprints()):
		return ReasonRotated
	case c.claims.pushed == "" && !c.claims.marked && c.asStamped(): // join has removed the version
		return ReasonRequested
	}
	return ReasonDrifted
}

func describe(src Source, c Copy, reason Reason) string {
	switch reason {
	case ReasonAbsent:
		return "its Secret is missing"
	case ReasonUnstamped:
		return "its Secret was never stamped"
	case ReasonSuperseded:
		return c.Whose(src) + ", lower than this main region's"
	case ReasonRotated:
		if n := src.generations(c.prints); n != nil && *n > 0 {
			return fmt.Sprintf("%d generation%s behind", *n, map[bool]string{true: "", false: "s"}[*n == 1])
		}
		return "its keys differ from the source's"
	case ReasonRequested:
		return "its keys are current, but join requested a write, to prove that fernetcast is running"
	}
	return "changed there by " + cmp.Or(c.LastWriter(src), "an unknown writer")
}

// generations returns how many rotations the old keys are behind the source, or nil if the source
// does not continue them.
func (s Source) generations(old keyset.Fingerprints) *int {
	if !s.continues(old) {
		return nil
	}
	return ptr.To(s.set.Fingerprints().Primary() - old.Primary())
}

// older reports whether resourceVersion a is older than b. It returns false if they cannot be
// compared.
func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}
