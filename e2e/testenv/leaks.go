package testenv

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// prefix is the start of a needle. Fewer than 8 bytes could match by chance.
type prefix [8]byte

// needle is a key, or a part of it, in one encoding.
type needle struct {
	key        int
	form, text string
}

// Leak is a key found in an output.
type Leak struct {
	// Key is the key's index in Keys.All, not the key itself.
	Key int
	// Form describes how the key was encoded.
	Form string
	// Around is the shortened text before the key on its line.
	Around string
}

func (l Leak) String() string { return fmt.Sprintf("key %d %s in: %s", l.Key, l.Form, l.Around) }

// Leaks searches outputs for every key that k has created or added. It finds a key's text or a part
// of it, the bytes that the text encodes, and both in base64, hex, or the format of Go's %v and
// %#v, even inside longer encoded data. This includes protobuf, which contains a key as plain text,
// and the right column of a hex dump, which has 16 characters of it per line. Leaks ignores keys
// shorter than 8 characters.
func (k *Keys) Leaks(outputs ...string) []Leak {
	k.index()
	k.mu.RLock()
	defer k.mu.RUnlock()
	var leaks []Leak
	for _, output := range outputs {
		found := map[needle]bool{}
		for at := range len(output) - len(prefix{}) + 1 {
			for _, n := range k.needles[prefix([]byte(output[at:at+len(prefix{})]))] {
				if !found[n] && strings.HasPrefix(output[at:], n.text) {
					found[n] = true
					leaks = append(leaks, Leak{Key: n.key, Form: n.form, Around: around(output, at)})
				}
			}
		}
	}
	return leaks
}

// index adds needles for new keys, so that a single pass over an output finds all keys.
func (k *Keys) index() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.needles == nil {
		k.needles = map[prefix][]needle{}
	}
	for ; k.indexed < len(k.made); k.indexed++ {
		if len(k.made[k.indexed]) < len(prefix{}) {
			continue
		}
		for form, texts := range forms(k.made[k.indexed]) {
			for _, text := range texts {
				if len(text) >= len(prefix{}) {
					at := prefix([]byte(text[:len(prefix{})]))
					k.needles[at] = append(k.needles[at], needle{k.indexed, form, text})
				}
			}
		}
	}
}

// forms returns the texts that reveal a key, by the name of their encoding.
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

// part is the length of the parts to search for. Every 15 consecutive characters contain a part
// that starts at a multiple of 4.
const part = 12

// inGo returns b as it looks inside a []byte printed with %v or %#v.
func inGo(b []byte) []string {
	return []string{strings.Trim(fmt.Sprint(b), "[]"), strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}")}
}

// inBase64 returns b in base64 without padding, as it looks inside longer encoded data. There is
// one text for each alignment of b in that data.
func inBase64(b []byte) []string {
	var all []string
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			// The first and last characters also contain bits of the neighboring bytes.
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

// around returns the text before the key on its line, except for adjacent characters that may
// belong to the key.
func around(output string, at int) string {
	from := max(strings.LastIndexByte(output[:at], '\n')+1, at-120)
	return strings.TrimRight(output[from:at], base64Letters) + "…"
}

const base64Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
