package keyset

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Fingerprints maps the index of each key to its fingerprint. Fingerprints aren't secret, and a
// stamp stores them. The nil map describes a set without keys. Fingerprints are never modified, so
// they are safe for concurrent use.
type Fingerprints map[int]string

// FingerprintsOf returns the fingerprint of each value in data whose name is an index, even if the
// value is not a valid key, because a remote's Secret can contain anything. It ignores all other
// data keys.
func FingerprintsOf(data map[string][]byte) Fingerprints {
	p := make(Fingerprints, len(data))
	for name, value := range data {
		if n, ok := Index(name); ok {
			p[n] = fingerprint(value)
		}
	}
	return p
}

// ParseFingerprints parses the result of [Fingerprints.String] and rejects everything else.
func ParseFingerprints(s string) (Fingerprints, error) {
	p := Fingerprints{}
	for part := range strings.SplitSeq(s, ",") {
		name, print, _ := strings.Cut(part, "=")
		n, ok := Index(name)
		if !ok || len(print) != fingerprintDigits || strings.Trim(print, "0123456789abcdef") != "" {
			return nil, fmt.Errorf("reading fingerprints: entry %s is not index=fingerprint", quote(part))
		}
		p[n] = print
	}
	if p.String() != s {
		return nil, fmt.Errorf("reading fingerprints: the indices are not in ascending order without repetition")
	}
	return p, nil
}

// String returns index=fingerprint pairs in ascending order, as stored in the stamp.
func (p Fingerprints) String() string {
	parts := make([]string, 0, len(p))
	for _, n := range slices.Sorted(maps.Keys(p)) {
		parts = append(parts, strconv.Itoa(n)+"="+p[n])
	}
	return strings.Join(parts, ",")
}

// MarshalJSON returns an object with the fingerprints by index, or null if p is nil.
func (p Fingerprints) MarshalJSON() ([]byte, error) { return json.Marshal(map[int]string(p)) }

// Primary returns the highest index, whose key signs tokens; 0 if there is none.
func (p Fingerprints) Primary() int {
	highest := 0
	for n := range p {
		highest = max(highest, n)
	}
	return highest
}

// Staged returns the fingerprint of key 0, the next primary; "" if there is none.
func (p Fingerprints) Staged() string { return p[0] }

// Equal reports whether both have the same keys at the same indices.
func (p Fingerprints) Equal(other Fingerprints) bool { return maps.Equal(p, other) }

// Continues reports whether rotations alone can turn old into p:
//   - p's primary index is not lower than old's.
//   - No index above 0 has different keys in p and old.
//   - There is proof that they are related: both have the same key at an index above 0, or p has
//     old's staged key at the index after old's primary.
//
// Without proof, p could be a recreated repository. After a few rotations, it looks the same
// as a continued repository whose rotations were all missed.
func (p Fingerprints) Continues(old Fingerprints) bool {
	if old.Primary() == 0 || p.Primary() < old.Primary() {
		return false
	}
	kin := p.promoted(old)
	for n, print := range old {
		if n == 0 {
			continue
		}
		if mine, both := p[n]; both {
			if mine != print {
				return false
			}
			kin = true
		}
	}
	return kin
}

// NextAfter reports whether p is exactly one rotation ahead of old: old's staged key is p's
// primary.
func (p Fingerprints) NextAfter(old Fingerprints) bool {
	return p.Primary() == old.Primary()+1 && p.promoted(old) && p.Continues(old)
}

func (p Fingerprints) promoted(old Fingerprints) bool {
	return old.Staged() != "" && p[old.Primary()+1] == old.Staged()
}
