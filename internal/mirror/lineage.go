package mirror

import (
	"slices"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
)

// mostBefore bounds what a source remembers: more than a year of a rotation every 12
// hours.
const mostBefore = 1000

// before is a primary that led to the present one, step by step.
type before struct {
	index       int
	fingerprint string
}

// Then judges the source Secret as it is seen after s, as [ReadSource] does, and
// remembers s where it continues it: a copy that was given one of the primaries that
// led here is continued, also where no key is left to prove it. What is no main of the
// same owner, or does not continue s, begins again. It is a pure function.
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

// continues says whether the source continues the keys that a copy was given: they
// prove it themselves, or it was seen to happen.
func (s Source) continues(given keyset.Fingerprints) bool {
	primary := given.Primary()
	return s.set.Fingerprints().Continues(given) || slices.Contains(s.before, before{primary, given[primary]})
}
