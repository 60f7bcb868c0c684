package mirror

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SourceState is what the source Secret is.
type SourceState string

// The states of a source. Only a Main is ever pushed from.
const (
	SourceUnread     SourceState = "Unread"
	SourceMain       SourceState = "Main"
	SourceStandby    SourceState = "Standby"
	SourceUnpromoted SourceState = "Unpromoted"
	SourceAbsent     SourceState = "Absent"
	SourceRefused    SourceState = "Refused"
)

// Source is the source Secret as it was read once: parsed, judged, and never
// changed, so it may be used concurrently. The zero Source has not been read.
type Source struct {
	state  SourceState
	detail string
	secret *corev1.Secret
	claims claims
	owner  Owner
	set    keyset.Set
	before []before // the primaries that were seen to lead to the present one, oldest first
}

// ReadSource judges the source Secret; nil says that it is absent. It keeps
// the Secret, which must not be changed afterwards.
func ReadSource(s *corev1.Secret) Source {
	if s == nil {
		return Source{state: SourceAbsent, detail: "the Secret does not exist"}
	}
	src := Source{secret: s, claims: readClaims(s)}
	mark, stamp := src.claims.main, src.claims.stamp
	// Where both are there, the higher term counts; equal ones count as the stamp's.
	standby := stamp != Owner{} && stamp.Term >= mark.Term
	set, err := keyset.Parse(s.Data)
	src.set = set
	switch {
	case err != nil:
		src.state, src.detail = SourceRefused, err.Error()
	case standby:
		src.state, src.owner, src.detail = SourceStandby, stamp, "copy of "+src.redact(stamp.Region)
	case len(src.claims.unreadable) > 0:
		src.state = SourceUnpromoted
		src.detail = "its annotations " + strings.Join(src.claims.unreadable, ", ") + " cannot be read"
	case mark == Owner{}:
		src.state, src.detail = SourceUnpromoted, "it bears no mark of a main"
		if src.claims.marked {
			src.detail = "its mark was set on another object: this one was restored, copied or made anew"
		}
	default:
		src.state, src.owner = SourceMain, mark
	}
	return src
}

// State is the judgement.
func (s Source) State() SourceState {
	if s.state == "" {
		return SourceUnread
	}
	return s.state
}

// Detail says why a source is not a Main; "" for a Main and for an unread one.
func (s Source) Detail() string { return s.detail }

// Owner is the main's own name, term and uid, of a Standby those of its main,
// and else nobody.
func (s Source) Owner() Owner { return s.owner }

// Keys is the key set; the zero Set where it was refused.
func (s Source) Keys() keyset.Set { return s.set }

// Fingerprints are the fingerprints of the keys as a stamp has them.
func (s Source) Fingerprints() string { return s.set.Fingerprints().String() }

// redact is a text that somebody else made, as it may be shown beside the source.
func (s Source) redact(text string) string { return Copy{}.redact(s, text) }

// UID of the Secret, "" where there is none.
func (s Source) UID() types.UID { return orEmpty(s.secret).UID }

// ResourceVersion of the Secret, "" where there is none.
func (s Source) ResourceVersion() string { return orEmpty(s.secret).ResourceVersion }

// orEmpty is the Secret, an empty one where there is none.
func orEmpty(s *corev1.Secret) *corev1.Secret { return cmp.Or(s, &corev1.Secret{}) }

// mostBefore bounds what a source remembers: more than a year of a rotation every 12
// hours.
const mostBefore = 1000

// before is a primary that led to the present one, step by step.
type before struct {
	index       int
	fingerprint string
}

// Then judges the Secret that is seen after s, as [ReadSource] does. If that continues s,
// the result remembers s: it then continues a copy that was given one of the primaries that
// led here, even if no key is left to prove it. A Secret that is not a main's of the same
// owner, or does not continue s, starts with an empty memory. Then is a pure function.
func (s Source) Then(secret *corev1.Secret) Source {
	next := ReadSource(secret)
	if s.state != SourceMain || next.state != SourceMain || s.owner != next.owner {
		return next
	}
	was, is := s.set.Fingerprints(), next.set.Fingerprints()
	if !is.Continues(was) {
		return next
	}
	next.before = s.before
	if primary := was.Primary(); is.Primary() != primary {
		kept := s.before[max(0, len(s.before)+1-mostBefore):]
		next.before = append(slices.Clone(kept), before{primary, was[primary]})
	}
	return next
}

// continues reports whether the source continues the keys that a copy was given: the keys
// prove it, or the source remembers it.
func (s Source) continues(given keyset.Fingerprints) bool {
	primary := given.Primary()
	return s.set.Fingerprints().Continues(given) || slices.Contains(s.before, before{primary, given[primary]})
}
