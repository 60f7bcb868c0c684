// Package keyset says what a set of Fernet keys is, as Keystone reads it: how
// the data of a Secret becomes one, and how two of them relate.
//
// It is pure, knows nothing of Kubernetes, and never gives a key's bytes away
// but through [Set.Data]: every printed form shows indices and fingerprints.
package keyset

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	// keyBytes is the length of a decoded key: 16 to sign with, 16 to encrypt with.
	keyBytes = 32
	// fingerprintDigits of SHA-256 tell keys apart and reveal none.
	fingerprintDigits = 8
)

// Set is a key set that Keystone can use as it is: a primary key, the one it
// signs with, perhaps a staged one (index 0), and secondary ones that it still
// validates with.
//
// Only [Parse] makes one; the zero Set holds no keys. A Set never changes and
// may be used concurrently. Its keys are behind a function, so that package fmt
// does not reach them even where it may not call Format: in an unexported
// field of a struct around it.
type Set struct{ keys func() keys }

type keys struct {
	data   map[string][]byte
	prints Fingerprints
}

// Parse takes the data of a Secret, and refuses what Keystone would not use as
// it stands, naming the index and the reason, never the value. The Set has a
// copy of data.
func Parse(data map[string][]byte) (Set, error) {
	if len(data) == 0 {
		return Set{}, errors.New("it holds no keys")
	}
	if _, flaws := Usable(data); len(flaws) > 0 {
		return Set{}, flaws[0]
	}
	prints := FingerprintsOf(data)
	if prints.Primary() == 0 {
		return Set{}, errors.New("it has no primary key, that is no index above 0")
	}
	held := keys{data: clone(data), prints: prints}
	return Set{func() keys { return held }}, nil
}

// A Flaw is a data key that Keystone would not use as it stands.
type Flaw struct {
	// Index is the index of the key; -1 if the data key's name is not an index.
	Index int
	why   string
}

// Error implements error. It names the data key and the reason, never the value.
func (f Flaw) Error() string { return f.why }

// Usable returns the fingerprints of the keys in data that Keystone can use, and a Flaw
// for each data key that it can't, in the order of their names.
func Usable(data map[string][]byte) (Fingerprints, []Flaw) {
	good, flaws := map[string][]byte{}, []Flaw{}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		index, ok := Index(name)
		if !ok {
			flaws = append(flaws, Flaw{-1, fmt.Sprintf("data key %s is not a key's index (0, 1, 2 …)", quote(name))})
		} else if err := checkKey(data[name]); err != nil {
			flaws = append(flaws, Flaw{index, fmt.Sprintf("key %s %v", name, err)})
		} else {
			good[name] = data[name]
		}
	}
	return FingerprintsOf(good), flaws
}

// Index takes an index as Keystone writes it in the name of a key's file, and
// only that. Keystone passes any name through Python's int(), so 01, -1 and 1_0
// would become keys too, and 1_0 even the primary (keystone/common/fernet_utils.py).
func Index(name string) (int, bool) {
	// 31 bits: enough for a rotation a second for 68 years, and never an overflow.
	n, err := strconv.ParseUint(name, 10, 31)
	return int(n), err == nil && strconv.FormatUint(n, 10) == name
}

// quote shows a data key, which is no secret but for the one case in which
// somebody has put a key, or a part of one, where its index belongs.
func quote(name string) string {
	const enough, digits = 8, 20 // 01, -1, 1_0, README; 99999999999
	if len(name) > enough && (len(name) > digits || strings.Trim(name, "0123456789") != "") {
		return fmt.Sprintf("of %d characters", len(name))
	}
	return strconv.Quote(name)
}

// checkKey refuses a truncated key (Keystone answers 500 on every token), an
// empty one (it is skipped in silence) and the all-zero one (keystone's
// NULL_KEY, known to the public).
func checkKey(value []byte) error {
	text := trim(value)
	if len(text) == 0 {
		return errors.New("is empty")
	}
	// The decoder passes over line breaks, wherever they stand.
	if bytes.ContainsAny(text, "\r\n") {
		return errors.New("has a line break inside, or more than one at its end")
	}
	key, err := base64.URLEncoding.DecodeString(string(text))
	if err != nil {
		return errors.New("is not url-safe base64")
	}
	if len(key) != keyBytes {
		return fmt.Errorf("is of %d bytes, not %d", len(key), keyBytes)
	}
	if bytes.Equal(key, make([]byte, keyBytes)) {
		return errors.New("is the all-zero key, which is known to the public")
	}
	return nil
}

// trim takes away the one trailing newline that a key may have.
func trim(value []byte) []byte { return bytes.TrimSuffix(value, []byte("\n")) }

func fingerprint(value []byte) string {
	sum := sha256.Sum256(trim(value))
	return hex.EncodeToString(sum[:])[:fingerprintDigits]
}

func clone(data map[string][]byte) map[string][]byte {
	c := make(map[string][]byte, len(data))
	for name, value := range data {
		c[name] = bytes.Clone(value)
	}
	return c
}

// Data returns a copy of what was parsed, byte for byte: the one way to the
// keys themselves. The zero Set's is nil.
func (s Set) Data() map[string][]byte {
	if s.keys == nil {
		return nil
	}
	return clone(s.keys().data)
}

// Fingerprints returns the fingerprints of the keys. The caller must not change them.
func (s Set) Fingerprints() Fingerprints {
	if s.keys == nil {
		return nil
	}
	return s.keys().prints
}

// SameData says whether data has this set's data keys and bytes, and no others.
func (s Set) SameData(data map[string][]byte) bool {
	return s.keys != nil && maps.EqualFunc(s.keys().data, data, bytes.Equal)
}

// Format prints the fingerprints, whatever the verb.
func (s Set) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.Fingerprints().String())) }

// MarshalJSON gives the fingerprints by index.
func (s Set) MarshalJSON() ([]byte, error) { return s.Fingerprints().MarshalJSON() }

// LogValue gives the fingerprints.
func (s Set) LogValue() slog.Value { return slog.StringValue(s.Fingerprints().String()) }
