package mirror

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The annotations of the mark, which only promote sets, and only on the main's
// own Secret.
const (
	MarkRegion = "fernetcast/main"
	MarkTerm   = "fernetcast/main-term"
	MarkUID    = "fernetcast/main-uid"
)

// The annotations of the stamp, which every copy bears beside its keys.
const (
	StampRegion  = "fernetcast/region"
	StampTerm    = "fernetcast/term"
	StampUID     = "fernetcast/source-uid"
	StampVersion = "fernetcast/source-resource-version"
	StampKeys    = "fernetcast/keys"
)

// FieldManager is the name under which API servers keep what we wrote.
const FieldManager = "fernetcast"

// MarkManager is the name under which they keep a mark. It is another, so that
// a promotion does not pass for a push, nor for a rotation.
const MarkManager = "fernetcast-promote"

// MaxTerm is the highest term there may be.
const MaxTerm = 999999

var (
	termForm    = regexp.MustCompile(`^[1-9][0-9]{0,5}$`)
	versionForm = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)
	regionForm  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
)

// Owner is whose copy a Secret is, or, as its mark, which main it is itself.
// The zero Owner is nobody.
type Owner struct {
	Region string
	Term   int
	// UID is the uid of the main's Secret.
	UID types.UID
}

// CheckRegion refuses a name that could not be shown as it is everywhere: in an
// annotation, in a line of text, in a command.
func CheckRegion(region string) error {
	if !regionForm.MatchString(region) {
		return fmt.Errorf("a region's name has 1 to 63 of the characters A-Z a-z 0-9 . _ -, and begins and ends with a letter or digit; %q is none", Printable(region))
	}
	return nil
}

// claims is what a Secret's annotations say of whose it is. An owner that
// lacks a part or does not parse is unreadable: it is nobody, and its
// annotations are listed in unreadable.
type claims struct {
	stamp Owner
	mark  Owner
	// main is the mark where it was set on this very object. One that came along with
	// a copied or restored manifest has another's uid, and counts for nothing.
	main Owner
	// pushed and keys are what the stamp says of the push; "" and nil where lost.
	pushed string
	keys   keyset.Fingerprints
	// marked says whether any part of a mark is there, readable or not.
	marked     bool
	unreadable []string
}

func readClaims(s *corev1.Secret) claims {
	var c claims
	c.mark, c.marked = c.readOwner(s, MarkRegion, MarkTerm, MarkUID)
	if c.mark.UID == s.UID {
		c.main = c.mark
	}
	c.stamp, _ = c.readOwner(s, StampRegion, StampTerm, StampUID)
	if version := s.Annotations[StampVersion]; versionForm.MatchString(version) {
		c.pushed = version
	}
	if keys, err := keyset.ParseFingerprints(s.Annotations[StampKeys]); err == nil {
		c.keys = keys
	}
	return c
}

// readOwner reads the three annotations of an owner and says whether any of
// them is there.
func (c *claims) readOwner(s *corev1.Secret, names ...string) (owner Owner, present bool) {
	var there []string
	for _, name := range names {
		if _, ok := s.Annotations[name]; ok {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return Owner{}, false
	}
	o := Owner{Region: s.Annotations[names[0]], UID: types.UID(s.Annotations[names[2]])}
	o.Term, _ = strconv.Atoi(s.Annotations[names[1]])
	if CheckRegion(o.Region) != nil || o.UID == "" || !termForm.MatchString(s.Annotations[names[1]]) {
		c.unreadable = append(c.unreadable, there...)
		return Owner{}, true
	}
	return o, true
}

// highestTerm is the highest term that is written here by anyone, for promote
// to go beyond: a mark with a foreign uid is counted too.
func (c claims) highestTerm() int { return max(c.mark.Term, c.stamp.Term) }
