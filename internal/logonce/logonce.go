// Package logonce lets a caller that retries log each problem once instead of at every attempt.
//
// It writes no logs itself.
package logonce

// A Text is the last logged text about one subject. The zero Text is "", which means no problem. It
// is not safe for concurrent use.
type Text struct{ last string }

// Changed stores text and reports whether it differs from the last one.
func (t *Text) Changed(text string) bool {
	changed := text != t.last
	t.last = text
	return changed
}

// ErrorChanged is like Changed for the text of err. A nil error counts as "".
func (t *Text) ErrorChanged(err error) bool {
	if err == nil {
		return t.Changed("")
	}
	return t.Changed(err.Error())
}
