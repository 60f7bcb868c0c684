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

// maxActive is max_active_keys: few, so that a handful of rotations takes every
// key of a set away.
const maxActive = 3

type data = map[string][]byte

// keyring makes every key there is in the world, and knows which key set came
// from which: all that is said here of older and newer is by that, not by what
// package keyset makes of them.
type keyring struct {
	made   map[string]bool
	parent map[string]string // the set that a rotation made this one of
}

func newKeyring() *keyring { return &keyring{map[string]bool{}, map[string]string{}} }

func (k *keyring) key() []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "key %d", len(k.made)))
	value := []byte(base64.URLEncoding.EncodeToString(sum[:]))
	k.made[string(value)] = true
	return value
}

// repository is a new one, as fernet_setup makes it.
func (k *keyring) repository() data { return data{"0": k.key(), "1": k.key()} }

// rotated is what keystone-manage makes of a key set; nil where it would make nothing.
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

// good says whether Keystone can use it: nothing in it but keys, and a primary.
func (k *keyring) good(d data) bool {
	for name, value := range d {
		if n, err := strconv.Atoi(name); err != nil || n < 0 || !k.made[string(value)] {
			return false
		}
	}
	return len(indices(d)) > 0
}

// older says whether rotations alone made of this key set the other.
func (k *keyring) older(this, other data) bool {
	for at, ok := k.parent[text(other)]; ok; at, ok = k.parent[at] {
		if at == text(this) {
			return true
		}
	}
	return false
}

// indices are those above 0, the primary first.
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

// prints are the fingerprints of a key set as a stamp has them.
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

// continues is the design's rule over fingerprints, anew: the primary is not
// lower, no index above 0 has another key, and one proves that they are kin.
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

// short shows a key set as the letters of its indices and two digits of each key.
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
