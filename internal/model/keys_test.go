package model_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxActive is Keystone's setting max_active_keys. It is so small that a few rotations replace all
// keys of a set.
const maxActive = 3

type data = map[string][]byte

// keyring creates all keys in the world and records which key set was rotated to which. With this
// record, the model can determine which of two sets is older without using package keyset.
type keyring struct {
	made   map[string]bool
	parent map[string]string // the set that was rotated to this one
}

func newKeyring() *keyring { return &keyring{map[string]bool{}, map[string]string{}} }

func (k *keyring) key() []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "key %d", len(k.made)))
	value := []byte(base64.URLEncoding.EncodeToString(sum[:]))
	k.made[string(value)] = true
	return value
}

// repository returns new keys, like keystone-manage fernet_setup.
func (k *keyring) repository() data { return data{"0": k.key(), "1": k.key()} }

// rotated returns the keys after keystone-manage fernet_rotate, or nil if that would fail.
func (k *keyring) rotated(old data) data {
	if old["0"] == nil || !k.good(old) {
		return nil
	}
	next := maps.Clone(old)
	next[strconv.Itoa(indices(old)[0]+1)] = old["0"]
	next["0"] = k.key()
	for all := indices(next); len(next) > maxActive; all = indices(next) {
		delete(next, strconv.Itoa(all[len(all)-1]))
	}
	k.parent[text(next)] = text(old)
	return next
}

// good reports whether Keystone can use the data: it contains only keys, one of which is a primary.
func (k *keyring) good(d data) bool {
	for name, value := range d {
		if n, err := strconv.Atoi(name); err != nil || n < 0 || !k.made[string(value)] {
			return false
		}
	}
	return len(indices(d)) > 0
}

// older reports whether rotations alone turned this into other.
func (k *keyring) older(this, other data) bool {
	for at, ok := k.parent[text(other)]; ok; at, ok = k.parent[at] {
		if at == text(this) {
			return true
		}
	}
	return false
}

// indices returns the indices above 0, starting with the primary.
func indices(d data) []int {
	var all []int
	for name := range d {
		if n, _ := strconv.Atoi(name); n > 0 {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b int) int { return b - a })
	return all
}

func text(d data) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(d)) {
		fmt.Fprintf(&b, "%s=%s\n", name, d[name])
	}
	return b.String()
}

func equal(a, b data) bool { return maps.EqualFunc(a, b, bytes.Equal) }

// prints returns the fingerprints of a key set in the stamp's format.
func prints(d data) string {
	names := slices.Collect(maps.Keys(d))
	slices.SortFunc(names, func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	})
	for i, name := range names {
		sum := sha256.Sum256(d[name])
		names[i] = name + "=" + hex.EncodeToString(sum[:])[:8]
	}
	return strings.Join(names, ",")
}

// continues implements the rule in docs/design.md without using package keyset: the primary index
// is not lower, no index above 0 has different keys, and one key proves that the sets are related.
func continues(next, old string) bool {
	n, o := byIndex(next), byIndex(old)
	top := slices.Max(append(slices.Collect(maps.Keys(o)), 0))
	if top == 0 || slices.Max(append(slices.Collect(maps.Keys(n)), 0)) < top {
		return false
	}
	kin := o[0] != "" && n[top+1] == o[0]
	for i := range o {
		if i > 0 && n[i] != "" && n[i] != o[i] {
			return false
		}
		kin = kin || i > 0 && n[i] == o[i]
	}
	return kin
}

func byIndex(prints string) map[int]string {
	m := map[int]string{}
	for pair := range strings.SplitSeq(prints, ",") {
		name, print, _ := strings.Cut(pair, "=")
		if n, err := strconv.Atoi(name); err == nil {
			m[n] = print
		}
	}
	return m
}

// short describes a key set by its indices and the first two digits of each fingerprint.
func short(d data) string {
	if len(d) == 0 {
		return "no keys"
	}
	parts := strings.Split(prints(d), ",")
	for i, p := range parts {
		parts[i] = p[:strings.IndexByte(p, '=')+3]
	}
	return strings.Join(parts, " ")
}
