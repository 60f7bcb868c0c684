package mirror

import (
	"net/netip"
	"net/url"
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

// word matches a plain word, a hyphenated name, a path, or an abbreviation.
var word = regexp.MustCompile(`^([A-Z]?[a-z]+([-.:/][a-z]+)*|[A-Z]{2,5})?$`)

// secretForm matches text that can be a key, a token, or a part of either: 32 bytes or more in
// base64 or hex.
var secretForm = regexp.MustCompile(`[A-Za-z0-9+/_-]{42,}=+|[A-Za-z0-9_-]{43,}`)

// nameForm matches the names of Kubernetes objects, users, resources, and verbs.
var nameForm = regexp.MustCompile(`^(\*|[a-z0-9]+([._-]+[a-z0-9]+)*)([:@/](\*|[a-z0-9]+([._-]+[a-z0-9]+)*))*$`)

var (
	kubernetesVersion = regexp.MustCompile(`^v[0-9]{1,3}(\.[0-9]{1,3}){2}([.+-][a-z0-9]{1,14}){0,5}$`)
	plainPath         = regexp.MustCompile(`^[A-Za-z0-9/._~-]*$`)
)

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

// Kubectl returns the start of a suggested kubectl command. Without a context, the command is for the
// source's cluster.
func Kubectl(context, namespace string) string {
	command := "kubectl"
	if context != "" {
		command += " --context " + Quote(context)
	}
	return command + " --namespace " + Quote(namespace)
}

// Hide replaces keys and tokens of any region in text with "…", and control characters other
// than line breaks with "?".
func Hide(text string) string {
	text = secretForm.ReplaceAllStringFunc(text, func(run string) string {
		// Names of objects can be just as long, but consist of lowercase words.
		if nameForm.MatchString(run) && strings.Contains(run, "-") {
			return run
		}
		return leftOut
	})
	return strings.Map(func(r rune) rune {
		if r != '\n' && (r == unicode.ReplacementChar || !unicode.IsPrint(r)) {
			return '?'
		}
		return r
	}, text)
}

// Name returns the name of an object, a user, a resource, or a verb that a server sent. It replaces
// a name that Kubernetes would not accept, because that could be a shell command.
func Name(name string) string {
	if len(name) > maxShown || !nameForm.MatchString(name) {
		return "(unusual name)"
	}
	return Printable(name)
}

// Version returns the Kubernetes version that a server reports, unless it is malformed.
func Version(reported string) string {
	if !kubernetesVersion.MatchString(reported) {
		return "unknown version"
	}
	return reported
}

// Address returns a URL without its user, password, query, and fragment, which can contain secrets.
func Address(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !plainPath.MatchString(u.Path) {
		return "(unusual address)"
	}
	host := strings.ToLower(u.Hostname())
	if _, err := netip.ParseAddr(host); err != nil && !nameForm.MatchString(host) {
		return "(unusual address)"
	}
	return Printable((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

// Line is like [Printable] without the limit, for text that contains our own commands.
func Line(text string) string { return strings.ReplaceAll(Hide(text), "\n", "?") }

// Printable returns at most the first 400 characters of text on one line. It hides keys and
// tokens like [Hide], and replaces control characters, including those that change the writing
// direction, with "?".
func Printable(text string) string {
	text = Line(text)
	shown := 0
	for i := range text {
		if shown == maxShown {
			text = text[:i] + leftOut
			break
		}
		shown++
	}
	return text
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
