package model_test

import (
	"maps"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

// dropped lists the guards that a story disables, either by hiding information from the program or
// by ignoring the preconditions of its writes.
type dropped struct {
	liveRead           bool // the source's GET is answered from the cache
	updatePrecondition bool // a PUT's resourceVersion is ignored
	createPrecondition bool // a create's resourceVersion is ignored
	term               bool // the program sees copies without their foreign owner
	row3               bool // the program sees the source without its stamp
	row12              bool // every push is forced
	// The following guards belong to promote.
	refusals         bool // every promotion is forced
	nextTerm         bool // promote uses a term that is one too low
	markPrecondition bool // the resourceVersion of the write that sets the mark is ignored
	lookAgain        bool // promote's second look returns the result of the first
	unsettled        bool // an ambiguous response is treated as a refusal
}

func (d dropped) readSource(last mirror.Source, s *corev1.Secret) mirror.Source {
	if d.row3 && s != nil {
		s = without(s, func(name string) bool {
			return strings.HasPrefix(name, "fernetcast/") && !strings.HasPrefix(name, mirror.MarkRegion)
		})
	}
	return last.Then(s)
}

func (d dropped) readCopy(remote string, home *cluster, s *corev1.Secret) mirror.Copy {
	if d.term && s != nil {
		for _, parts := range [][]string{markParts, stampParts} {
			if o, _ := claim(s, parts); o.region != home.name {
				s = without(s, func(name string) bool { return strings.HasPrefix(name, "fernetcast/") })
			}
		}
	}
	return mirror.ReadCopy(mirror.Place{Remote: remote, Namespace: "openstack", Secret: secretName}, s)
}

// without returns a copy of a Secret that lacks the annotations whose names match which.
func without(s *corev1.Secret, which func(name string) bool) *corev1.Secret {
	s = s.DeepCopy()
	maps.DeleteFunc(s.Annotations, func(name, _ string) bool { return which(name) })
	return s
}
