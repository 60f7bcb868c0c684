package keyset

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

const (
	// revealing is how many characters of a key in a row are too many to be shown.
	revealing = 6
	// mostKeys is how many keys of a set a text is searched for: no key set that is
	// in use has more.
	mostKeys = 200
	// hidden stands for what is not shown.
	hidden = "…"
)

// Redact returns text without whatever it shares with a key of these sets: runs
// of six characters or more, in any case, of the key's own text, of its base64
// and of its hex digits. It is for a text that somebody else made.
func Redact(text string, sets ...map[string][]byte) string {
	folded := strings.ToLower(text)
	if len(folded) != len(text) { // only ASCII is sure to keep its length
		return hidden
	}
	at := map[string][]int{}
	for i := range len(folded) - revealing + 1 {
		at[folded[i:i+revealing]] = append(at[folded[i:i+revealing]], i)
	}
	if len(at) == 0 {
		return text
	}
	covered := make([]bool, len(text))
	for _, set := range sets {
		searched := 0
		for _, value := range set {
			list := forms(trim(value))
			if list != nil {
				searched++
			}
			if searched > mostKeys {
				break
			}
			for _, form := range list {
				for i := range len(form) - revealing + 1 {
					for _, start := range at[form[i:i+revealing]] {
						for j := range revealing {
							covered[start+j] = true
						}
					}
				}
			}
		}
	}
	var kept strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			kept.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			kept.WriteString(hidden)
		}
	}
	return kept.String()
}

// forms are the ways in which a key is often written, in lower case: as it is,
// in hex, and in base64, which depends on where in it the key begins.
func forms(value []byte) []string {
	if checkKey(value) != nil {
		return nil
	}
	list := []string{string(value), hex.EncodeToString(value)}
	if raw, err := base64.URLEncoding.DecodeString(string(value)); err == nil {
		list = append(list, hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw))
	}
	for skip := range 3 {
		list = append(list, base64.StdEncoding.EncodeToString(value[skip:]))
	}
	for i, form := range list {
		list[i] = strings.ToLower(form)
	}
	return list
}
