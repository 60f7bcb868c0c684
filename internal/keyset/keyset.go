// Package keyset parses and compares sets of Fernet keys the way Keystone reads them.
//
// It is pure and does not depend on Kubernetes. Only [Set.Data] returns keys. A printed, logged, or
// encoded [Set] shows only indices and fingerprints.
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
	// keyBytes is the length of a decoded key: 16 bytes for signing and 16 for encryption.
	keyBytes = 32
	// fingerprintDigits is the number of hex digits of a key's SHA-256 hash that identify the key.
	fingerprintDigits = 8
)

// A Set is a key set that Keystone can use unmodified. It has a primary key, which signs
// tokens, an optional staged key (index 0), and secondary keys, which only validate tokens.
//
// Use [Parse] to create a Set. The zero Set holds no keys. A Set is immutable and safe for
// concurrent use. The keys are behind a function, because package fmt does not call Format on a Set
// in an unexported field, and would print the keys.
type Set struct{ keys func() keys }

type keys struct {
	data   map[string][]byte
	prints Fingerprints
	text   string // prints as text
}

// Parse returns the key set in the data of a Secret. It rejects data that Keystone would
// not use unmodified. The error names the index and the reason, never the value. The Set
// has its own copy of data.
func Parse(data map[string][]byte) (Set, error) {
	if len(data) == 0 {
		return Set{}, errors.New("it has no keys")
	}
	if _, flaws := Usable(data); len(flaws) > 0 {
		return Set{}, flaws[0]
	}
	prints := FingerprintsOf(data)
	if prints.Primary() == 0 {
		return Set{}, errors.New("it has no primary key (no index above 0)")
	}
	held := keys{clone(data), prints, prints.String()}
	return Set{func() keys { return held }}, nil
}

// A Flaw is a data key that Keystone would not use unmodified.
type Flaw struct {
	// Index is the index of the key; -1 if the data key's name is not an index.
	Index int
	why   string
}

// Error returns the data key and the reason, never the value.
func (f Flaw) Error() string { return f.why }

// Usable returns the fingerprints of the keys in data that Keystone can use, and a Flaw for
// each other data key, sorted by name.
func Usable(data map[string][]byte) (Fingerprints, []Flaw) {
	good, flaws := map[string][]byte{}, []Flaw{}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		index, ok := Index(name)
		if !ok {
			flaws = append(flaws, Flaw{-1, fmt.Sprintf("data key %s is not a key index (0, 1, 2, …)", quote(name))})
		} else if err := checkKey(data[name]); err != nil {
			flaws = append(flaws, Flaw{index, fmt.Sprintf("key %s %v", name, err)})
		} else {
			good[name] = data[name]
		}
	}
	return FingerprintsOf(good), flaws
}

// Index parses the index of a key and accepts only the form that Keystone writes. Keystone passes
// file names to Python's int(), so it would also load keys named 01, -1, and 1_0, and 1_0 would
// even become the primary (keystone/common/fernet_utils.py).
func Index(name string) (int, bool) {
	// 31 bits fit into any int and allow one rotation per second for 68 years.
	n, err := strconv.ParseUint(name, 10, 31)
	return int(n), err == nil && strconv.FormatUint(n, 10) == name
}

// quote returns the name of a data key for an error message. It hides a long name, because someone
// may have used a key, or a part of it, as the name.
func quote(name string) string {
	const enough, digits = 8, 20 // for names such as 1_0 and README; for numbers
	if len(name) > enough && (len(name) > digits || strings.Trim(name, "0123456789") != "") {
		return fmt.Sprintf("of %d characters", len(name))
	}
	return strconv.Quote(name)
}

// checkKey rejects truncated keys (Keystone returns 500 for every token), empty keys
// (Keystone silently skips them), and the all-zero key (Keystone's NULL_KEY, which is
// public).
func checkKey(value []byte) error {
	text := trim(value)
	if len(text) == 0 {
		return errors.New("is empty")
	}
	// The decoder ignores line breaks anywhere.
	if bytes.ContainsAny(text, "\r\n") {
		return errors.New("has a line break in the middle, or more than one at the end")
	}
	key, err := base64.URLEncoding.DecodeString(string(text))
	if err != nil {
		return errors.New("is not URL-safe base64")
	}
	if len(key) != keyBytes {
		return fmt.Errorf("has %d bytes instead of %d", len(key), keyBytes)
	}
	if bytes.Equal(key, make([]byte, keyBytes)) {
		return errors.New("is the all-zero key, which is publicly known")
	}
	return nil
}

// trim removes the one trailing newline that a key may have.
func trim(value []byte) []byte { return bytes.TrimSuffix(value, []byte("\n")) }

func fingerprint(value []byte) string {
	sum := sha256.Sum256(trim(value))
	return hex.EncodeToString(sum[:fingerprintDigits/2])
}

func clone(data map[string][]byte) map[string][]byte {
	c := make(map[string][]byte, len(data))
	for name, value := range data {
		c[name] = bytes.Clone(value)
	}
	return c
}

// Data returns a copy of the parsed data, byte for byte. No other method gives access to the keys.
// For the zero Set, Data returns nil.
func (s Set) Data() map[string][]byte {
	if s.keys == nil {
		return nil
	}
	return clone(s.keys().data)
}

// Fingerprints returns the fingerprints of the keys. The caller must not modify them.
func (s Set) Fingerprints() Fingerprints {
	if s.keys == nil {
		return nil
	}
	return s.keys().prints
}

// String returns the fingerprints as stored in the stamp, and "" for the zero Set.
func (s Set) String() string {
	if s.keys == nil {
		return ""
	}
	return s.keys().text
}

// SameData reports whether data has exactly the set's data keys and bytes.
func (s Set) SameData(data map[string][]byte) bool {
	return s.keys != nil && maps.EqualFunc(s.keys().data, data, bytes.Equal)
}

// Format prints the fingerprints for any verb.
func (s Set) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalJSON returns the fingerprints by index.
func (s Set) MarshalJSON() ([]byte, error) { return s.Fingerprints().MarshalJSON() }

// LogValue returns the fingerprints.
func (s Set) LogValue() slog.Value { return slog.StringValue(s.String()) }
