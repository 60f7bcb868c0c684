package mirror

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

const (
	// mostShown bounds a text that somebody else may have made, in characters.
	mostShown   = 400
	punctuation = `"'()[]{},.:`
	longestWord = 63
	mostWords   = 60
	leftOut     = "…"
)

// A word, perhaps of several, as in a name or a path; or an abbreviation.
var word = regexp.MustCompile(`^([A-Z]?[a-z]+([-.:/][a-z]+)*|[A-Z]{2,5})?$`)

// plainWord is one that a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9@%+=:,./_-]+$`)

// Quote is a word of a command that is suggested, as a shell takes it for one word,
// whatever it holds.
func Quote(word string) string {
	if word = Printable(word); plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Printable keeps the characters of a text that a terminal prints, and only the
// first 400. What controls a terminal, or the direction of writing, becomes "?".
func Printable(text string) string {
	shown := 0
	for i := range text {
		if shown == mostShown {
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

// words keeps the plain words of a text that somebody else made. A key, or a
// part of one, has digits or mixed case, whatever it is written as.
func words(text string) string {
	var kept []string
	for field := range strings.FieldsSeq(text) {
		if len(kept) == mostWords {
			return strings.Join(append(kept, leftOut), " ")
		}
		if bare := strings.Trim(field, punctuation); len(bare) <= longestWord && word.MatchString(bare) {
			kept = append(kept, field)
		} else if len(kept) == 0 || kept[len(kept)-1] != leftOut {
			kept = append(kept, leftOut)
		}
	}
	return strings.Join(kept, " ")
}

// Redacted is the decision as it may be shown: its detail may quote what a
// remote made, so it shares nothing with a key of the source or of the copy.
func (d Decision) Redacted(src Source, c Copy) Decision {
	d.Detail = c.redact(src, d.Detail)
	return d
}

// redact is a text that somebody else made, as it may be shown beside the keys
// of src and of the copy.
func (c Copy) redact(src Source, text string) string {
	return keyset.Redact(Printable(text), orEmpty(src.secret).Data, orEmpty(c.secret).Data)
}
