package mirror

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

const (
	// maxShown limits text from other writers, in characters.
	maxShown      = 400
	punctuation   = `"'()[]{},.:`
	maxWordLength = 63
	maxWords      = 60
	leftOut       = "…"
)

// word matches plain words, including hyphenated names and paths, and abbreviations.
var word = regexp.MustCompile(`^([A-Z]?[a-z]+([-.:/][a-z]+)*|[A-Z]{2,5})?$`)

// plainWord matches a word that needs no quoting in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_-]+$`)

// Quote quotes a word of a suggested command for a shell, if necessary. The word can
// contain anything.
func Quote(word string) string {
	if word = Printable(word); plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Printable returns at most the first 400 characters of text. It replaces control
// characters, including those that change the writing direction, with "?".
func Printable(text string) string {
	shown := 0
	for i := range text {
		if shown == maxShown {
			text = text[:i] + leftOut
			break
		}
		shown++
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// words returns the plain words in text from other writers. This removes keys and parts of
// keys, because they contain digits or mixed case in any encoding.
func words(text string) string {
	var kept []string
	for field := range strings.FieldsSeq(text) {
		if len(kept) == maxWords {
			return strings.Join(append(kept, leftOut), " ")
		}
		if bare := strings.Trim(field, punctuation); len(bare) <= maxWordLength && word.MatchString(bare) {
			kept = append(kept, field)
		} else if len(kept) == 0 || kept[len(kept)-1] != leftOut {
			kept = append(kept, leftOut)
		}
	}
	return strings.Join(kept, " ")
}

// Redacted returns the decision without any part of a key of src or c. Its detail may quote
// text that was written in a remote.
func (d Decision) Redacted(src Source, c Copy) Decision {
	d.Detail = c.redact(src, d.Detail)
	return d
}

// redact makes text from other writers printable and removes parts of the keys of src and of
// the copy.
func (c Copy) redact(src Source, text string) string {
	return keyset.Redact(Printable(text), orEmpty(src.secret).Data, orEmpty(c.secret).Data)
}
