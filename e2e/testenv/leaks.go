package testenv

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// begin is what a text begins with: shorter ones stand everywhere by accident.
type begin [8]byte

// needle is a key in one form.
type needle struct {
	key        int
	form, text string
}

// Leak is a key that stands where none may stand.
type Leak struct {
	// Key is its place in Keys.All, not the key.
	Key int
	// Form tells how it was written.
	Form string
	// Around is the line that it was found in, cut.
	Around string
}

func (l Leak) String() string { return fmt.Sprintf("key %d %s in: %s", l.Key, l.Form, l.Around) }

// Leaks searches outputs for every key made so far: its text or a part of it,
// the bytes that it encodes, and both as base64, hex or Go's %v and %#v would
// print them, also inside of what was printed as a whole. In protobuf a key is
// its plain text, and so it is in the right-hand column of a hex dump, 16
// characters a line. Texts of less than 8 characters are not searched for.
func (k *Keys) Leaks(outputs ...string) []Leak {
	k.index()
	k.mu.RLock()
	defer k.mu.RUnlock()
	var leaks []Leak
	for _, output := range outputs {
		found := map[needle]bool{}
		for at := range len(output) - len(begin{}) + 1 {
			for _, n := range k.needles[begin([]byte(output[at:at+len(begin{})]))] {
				if !found[n] && strings.HasPrefix(output[at:], n.text) {
					found[n] = true
					leaks = append(leaks, Leak{Key: n.key, Form: n.form, Around: around(output, at)})
				}
			}
		}
	}
	return leaks
}

// index makes the needles of the keys that are new. One pass over an output finds
// them all, however many there are.
func (k *Keys) index() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.needles == nil {
		k.needles = map[begin][]needle{}
	}
	for ; k.indexed < len(k.made); k.indexed++ {
		if len(k.made[k.indexed]) < len(begin{}) {
			continue
		}
		for form, texts := range forms(k.made[k.indexed]) {
			for _, text := range texts {
				if len(text) >= len(begin{}) {
					at := begin([]byte(text[:len(begin{})]))
					k.needles[at] = append(k.needles[at], needle{k.indexed, form, text})
				}
			}
		}
	}
}

// forms are the ways to write a key, by their names.
func forms(key string) map[string][]string {
	text := strings.TrimRight(key, "\n")
	all := map[string][]string{
		"as it is":            {text},
		"'s text in base64":   inBase64([]byte(text)),
		"'s text in hex":      inHex([]byte(text)),
		"'s text as Go bytes": inGo([]byte(text)),
	}
	if body := strings.TrimRight(text, "="); len(body) >= part {
		all["in part"] = []string{body[len(body)-part:]}
		for at := 0; at+part <= len(body); at += 4 {
			all["in part"] = append(all["in part"], body[at:at+part])
		}
	}
	if raw, err := base64.URLEncoding.DecodeString(text); err == nil {
		all["'s bytes"] = []string{string(raw)}
		all["'s bytes in base64"] = inBase64(raw)
		all["'s bytes in hex"] = inHex(raw)
		all["'s bytes as Go bytes"] = inGo(raw)
	}
	return all
}

// part is how long a part of a key is that is searched for. Each 15 characters
// in a row hold one that begins at a multiple of 4.
const part = 12

// inGo is b as it looks inside of a []byte that was printed by %v or by %#v.
func inGo(b []byte) []string {
	return []string{strings.Trim(fmt.Sprint(b), "[]"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}")}
}

// inBase64 is b in base64, without padding, and as it looks inside a longer
// text that was encoded as a whole.
func inBase64(b []byte) []string {
	var all []string
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			// The first and the last character also hold bits of the neighbours.
			text := encoding.EncodeToString(append(make([]byte, before), b...))
			skip := (before*8 + 5) / 6
			all = append(all, text[skip:len(text)-1])
		}
	}
	return all
}

func inHex(b []byte) []string {
	text := hex.EncodeToString(b)
	return []string{text, strings.ToUpper(text), fmt.Sprintf("% x", b)}
}

// around is the line up to the key; a part of a key just before it goes too.
func around(output string, at int) string {
	from := max(strings.LastIndexByte(output[:at], '\n')+1, at-120)
	return strings.TrimRight(output[from:at], base64Letters) + "…"
}

const base64Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
