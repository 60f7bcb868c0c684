package mirror

import (
	"cmp"
	"slices"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SourceState classifies the source Secret.
type SourceState string

// States of a source. Keys are pushed only from a Main.
const (
	SourceUnread     SourceState = "Unread"
	SourceMain       SourceState = "Main"
	SourceStandby    SourceState = "Standby"
	SourceUnpromoted SourceState = "Unpromoted"
	SourceAbsent     SourceState = "Absent"
	SourceRefused    SourceState = "Refused"
)

// Source is the parsed and classified source Secret. It is immutable and safe for
// concurrent use. The zero Source has not been read.
type Source struct {
	state  SourceState
	detail string
	secret *corev1.Secret
	claims claims
	owner  Owner
	set    keyset.Set
	past   []pastPrimary // earlier primaries since which no rotation was missed, oldest first
}

// ReadSource parses and classifies the source Secret. A nil s means that it does not exist. The
// Source keeps s, so the caller must not modify it.
func ReadSource(s *corev1.Secret) Source {
	if s == nil {
		return Source{state: SourceAbsent, detail: "the Secret does not exist"}
	}
	src := Source{secret: s, claims: readClaims(s)}
	mark, stamp := src.claims.main, src.claims.stamp
	// If the Secret has a mark and a stamp, the higher term counts. If the terms are equal, the
	// stamp counts.
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
		src.detail = src.claims.unknownOwner()
	case mark == Owner{}:
		src.state, src.detail = SourceUnpromoted, "it has no mark of a main region"
		if src.claims.marked {
			src.detail = "its mark belongs to another object: this one was restored, copied, or recreated"
		}
	default:
		src.state, src.owner = SourceMain, mark
	}
	return src
}

// State returns the state; SourceUnread for the zero Source.
func (s Source) State() SourceState {
	if s.state == "" {
		return SourceUnread
	}
	return s.state
}

// Detail explains why the source is not a Main. It is "" for a Main and for the zero
// Source.
func (s Source) Detail() string { return s.detail }

// Owner returns the owner of the keys: for a Main, its own region, and for a Standby, another main
// region. In all other states, Owner returns the zero Owner.
func (s Source) Owner() Owner { return s.owner }

// Keys returns the key set, or the zero Set if the data is invalid.
func (s Source) Keys() keyset.Set { return s.set }

// Fingerprints returns the fingerprints of the keys in the stamp's format.
func (s Source) Fingerprints() string { return s.set.String() }

// redact makes text from other writers printable and removes parts of the source's keys.
func (s Source) redact(text string) string { return Copy{}.redact(s, text) }

// UID returns the UID of the Secret, or "" if it does not exist.
func (s Source) UID() types.UID { return orEmpty(s.secret).UID }

// ResourceVersion returns the resourceVersion of the Secret, or "" if it does not exist.
func (s Source) ResourceVersion() string { return orEmpty(s.secret).ResourceVersion }

// orEmpty returns s, or an empty Secret if s is nil.
func orEmpty(s *corev1.Secret) *corev1.Secret { return cmp.Or(s, &corev1.Secret{}) }

// maxPast limits how many past primaries a source remembers. With a rotation every 12 hours, 1,000
// of them span more than a year.
const maxPast = 1000

// pastPrimary is an earlier primary since which no rotation was missed.
type pastPrimary struct {
	index       int
	fingerprint string
}

// Then returns the Source for a Secret that is seen after s. It parses the Secret like
// [ReadSource].
//
// If the new keys continue those of s, the result remembers the primaries of s. It therefore
// continues a copy with one of these primaries, even if no remaining key proves that they are
// related. If the owner differs or the keys do not continue those of s, the result remembers
// nothing. Then does not modify s.
func (s Source) Then(secret *corev1.Secret) Source {
	next := ReadSource(secret)
	if s.state != SourceMain || next.state != SourceMain || s.owner != next.owner {
		return next
	}
	was, is := s.set.Fingerprints(), next.set.Fingerprints()
	if !is.Continues(was) {
		return next
	}
	next.past = s.past
	if primary := was.Primary(); is.Primary() != primary {
		kept := s.past[max(0, len(s.past)+1-maxPast):]
		next.past = append(slices.Clone(kept), pastPrimary{primary, was[primary]})
	}
	return next
}

// continues reports whether the source continues the keys that a copy was given. The proof is
// either a key in both sets or a remembered primary.
func (s Source) continues(given keyset.Fingerprints) bool {
	primary := given.Primary()
	return s.set.Fingerprints().Continues(given) || slices.Contains(s.past, pastPrimary{primary, given[primary]})
}
