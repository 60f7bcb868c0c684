package keyset

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

const (
	// revealing is the length, in characters, of the shortest part of a key that must not be shown.
	revealing = 6
	// maxKeys limits how many keys of a set Redact searches for. Real key sets have fewer.
	maxKeys = 200
	// hidden replaces text that must not be shown.
	hidden = "…"
	// maxName is how many bytes of a file's name are shown.
	maxName = 64
)

var (
	// base64Run matches text that could be a part of a key.
	base64Run = regexp.MustCompile(fmt.Sprintf(`[A-Za-z0-9+/_=-]{%d,}`, revealing))
	// plainRun matches words and numbers. It doesn't match parts of keys, because they mix case and
	// digits in any encoding.
	plainRun = regexp.MustCompile(`^(([A-Z]?[a-z]*|[A-Z]*)[0-9]{0,8}([+/_=-]+|$))*$`)
)

// QuoteName returns the name of a file in quotation marks and printable ASCII. Because the name
// could contain a key, QuoteName replaces words that mix case and digits with dots. It also
// shortens a long name. If it changes the name, it appends a fingerprint, so that different names
// stay distinguishable.
func QuoteName(name string) string {
	shown := base64Run.ReplaceAllStringFunc(name[:min(len(name), maxName)], func(run string) string {
		if plainRun.MatchString(run) {
			return run
		}
		return "..."
	})
	if shown == name {
		return fmt.Sprintf("%+q", name)
	}
	return fmt.Sprintf("%+q...%s", shown, fingerprint([]byte(name)))
}

// Redact removes every part of a key in sets from text: six or more consecutive characters of the
// key itself, its base64 encoding, or its hex digits, in upper or lower case. Use it for text from
// other writers.
func Redact(text string, sets ...map[string][]byte) string {
	folded := strings.ToLower(text)
	if len(folded) != len(text) { // lowercasing can change the length of non-ASCII text
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
			list := encodings(trim(value))
			if list != nil {
				searched++
			}
			if searched > maxKeys {
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

// encodings returns the usual encodings of a key in lowercase: its text, hex, and base64. There are
// several in base64, because it depends on the key's offset in the encoded text. If value is not a
// key, encodings returns nil.
func encodings(value []byte) []string {
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
