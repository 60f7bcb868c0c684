package keyset

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Fingerprints are the fingerprints of a key set by index: all that may be shown of
// it, and all that a stamp keeps of it. nil is a set without keys. They are
// not changed once made, so they may be read concurrently.
type Fingerprints map[int]string

// FingerprintsOf takes the fingerprints of whatever data holds under a key's index,
// also where it is no key set: what a remote has need not be one. Other data
// keys are left out.
func FingerprintsOf(data map[string][]byte) Fingerprints {
	p := make(Fingerprints, len(data))
	for name, value := range data {
		if n, ok := Index(name); ok {
			p[n] = fingerprint(value)
		}
	}
	return p
}

// ParseFingerprints reads what [Fingerprints.String] wrote. It refuses anything else.
func ParseFingerprints(s string) (Fingerprints, error) {
	p := Fingerprints{}
	for part := range strings.SplitSeq(s, ",") {
		name, print, _ := strings.Cut(part, "=")
		n, ok := Index(name)
		if !ok || len(print) != fingerprintDigits || strings.Trim(print, "0123456789abcdef") != "" {
			return nil, fmt.Errorf("reading fingerprints: %s is not index=fingerprint", quote(part))
		}
		p[n] = print
	}
	if p.String() != s {
		return nil, fmt.Errorf("reading fingerprints: the indices are not in ascending order, each once")
	}
	return p, nil
}

// String writes index=fingerprint, ascending, as the stamp keeps it.
func (p Fingerprints) String() string {
	parts := make([]string, 0, len(p))
	for _, n := range slices.Sorted(maps.Keys(p)) {
		parts = append(parts, strconv.Itoa(n)+"="+p[n])
	}
	return strings.Join(parts, ",")
}

// MarshalJSON writes an object of fingerprint by index, null for no prints.
func (p Fingerprints) MarshalJSON() ([]byte, error) { return json.Marshal(map[int]string(p)) }

// Primary is the highest index, the key that Keystone signs with; 0 where there is none.
func (p Fingerprints) Primary() int {
	highest := 0
	for n := range p {
		highest = max(highest, n)
	}
	return highest
}

// Staged is the fingerprint of key 0, the next primary; "" where there is none.
func (p Fingerprints) Staged() string { return p[0] }

// Equal says whether both have the same keys under the same indices.
func (p Fingerprints) Equal(other Fingerprints) bool { return maps.Equal(p, other) }

// Continues says whether p can have come from old by rotations alone: its
// primary is not lower, no index from 1 on that both have holds different
// keys, and there is proof of kinship: such an index with the same key, or
// old's staged key as the one after old's primary. Without proof two sets are
// not kin: a re-created repository that has rotated a few times looks just
// like one whose every key was missed.
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

// NextAfter says whether p is just one rotation on from old: old's staged key is its primary.
func (p Fingerprints) NextAfter(old Fingerprints) bool {
	return p.Primary() == old.Primary()+1 && p.promoted(old) && p.Continues(old)
}

func (p Fingerprints) promoted(old Fingerprints) bool {
	return old.Staged() != "" && p[old.Primary()+1] == old.Staged()
}
