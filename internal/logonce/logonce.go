// Package logonce helps a caller that retries to log each problem once, and not at each attempt.
//
// It writes no log itself.
package logonce

// Text is the text that was last logged about one subject. The zero Text is "", which
// stands for no problem. It is not safe for concurrent use.
type Text struct{ last string }

// Changed stores text and reports whether it differs from the last one.
func (t *Text) Changed(text string) bool {
	changed := text != t.last
	t.last = text
	return changed
}

// ErrorChanged is Changed for the text of err, which is "" for nil.
func (t *Text) ErrorChanged(err error) bool {
	if err == nil {
		return t.Changed("")
	}
	return t.Changed(err.Error())
}
