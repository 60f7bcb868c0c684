package mirror

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/fernetcast/fernetcast/internal/keyset"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// These annotations form the mark. Only promote and recover set them, and only on the main region's
// own Secret.
const (
	MarkRegion = "fernetcast/main"
	MarkTerm   = "fernetcast/main-term"
	MarkUID    = "fernetcast/main-uid"
	// MarkCluster is the UID of the cluster's Namespace kube-system, if promote could read it. It
	// isn't part of the owner.
	MarkCluster = "fernetcast/main-cluster"
	// MarkUnserved lists remotes of the previous main region, separated by commas, that weren't remotes
	// of this one when it was promoted. It isn't part of the owner.
	MarkUnserved = "fernetcast/main-unserved"
)

// These annotations form the stamp that each push writes on the copy.
const (
	StampRegion  = "fernetcast/region"
	StampTerm    = "fernetcast/term"
	StampUID     = "fernetcast/source-uid"
	StampVersion = "fernetcast/source-resource-version"
	StampKeys    = "fernetcast/keys"
)

// FieldManager is fernetcast's name in managedFields.
const FieldManager = "fernetcast"

// MarkManager is fernetcast's name in managedFields when it sets a mark. It differs from
// FieldManager so that a promotion is not mistaken for a push or a rotation.
const MarkManager = "fernetcast-promote"

// MaxTerm is the highest valid term.
const MaxTerm = 999999

var (
	termForm    = regexp.MustCompile(`^[1-9][0-9]{0,5}$`)
	versionForm = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)
	regionForm  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
)

// Owner identifies the main region that a stamp or a mark refers to. The zero Owner means that
// there is no owner.
type Owner struct {
	Region string
	Term   int
	// UID is the UID of the main region's Secret.
	UID types.UID
}

// CheckRegion returns an error unless the region's name can appear unmodified in annotations,
// messages, and commands.
func CheckRegion(region string) error {
	if !regionForm.MatchString(region) {
		return fmt.Errorf("invalid region name %q: it must have 1 to 63 of the characters A-Z a-z 0-9 . _ - and start and end with a letter or digit", Printable(region))
	}
	return nil
}

// claims holds the parsed mark and stamp of a Secret. An incomplete or malformed owner is parsed as
// the zero Owner, and unreadable lists its annotations.
type claims struct {
	stamp Owner
	mark  Owner
	// main equals mark if the mark was set on this very object. Otherwise, it is zero: a mark in a
	// copied or restored manifest has another object's UID and does not count.
	main Owner
	// cluster is the UID of the main region's cluster, from a valid mark; "" if it isn't known.
	cluster string
	// pushed is the source's resourceVersion in the stamp, and keys are the fingerprints there.
	// They are "" and nil if missing or malformed.
	pushed string
	keys   keyset.Fingerprints
	// marked reports whether the Secret has any annotation of a mark, valid or not.
	marked     bool
	unreadable []string
}

func readClaims(s *corev1.Secret) claims {
	var c claims
	c.mark, c.marked = c.readOwner(s, MarkRegion, MarkTerm, MarkUID)
	if c.mark.UID == s.UID {
		c.main, c.cluster = c.mark, s.Annotations[MarkCluster]
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

// readOwner parses the three annotations of an owner and reports whether the Secret has any of
// them.
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

// unknownOwner describes a Secret with unreadable annotations.
func (c claims) unknownOwner() string {
	return "its annotations " + strings.Join(c.unreadable, ", ") + " cannot be read, so its owner is unknown"
}

// highestTerm returns the higher of the terms in the mark and the stamp. It includes a mark with
// another object's UID, because promote must exceed every term in use.
func (c claims) highestTerm() int { return max(c.mark.Term, c.stamp.Term) }
