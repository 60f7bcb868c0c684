// Package logonce lets a caller that retries log each problem once instead of at every attempt.
//
// It writes no logs itself.
package logonce

import "time"

// A Text holds the last logged text about one subject. The zero Text holds "", which means that
// there is no problem. A Text is not safe for concurrent use.
type Text struct {
	last string
	at   time.Time // when ChangedAfter last returned true
}

// Changed stores text and reports whether it differs from the last one.
func (t *Text) Changed(text string) bool {
	changed := text != t.last
	t.last = text
	return changed
}

// ChangedAfter is like Changed, but after a change, it ignores text and returns false until the
// duration every has passed.
func (t *Text) ChangedAfter(every time.Duration, text string) bool {
	if !t.at.IsZero() && time.Since(t.at) < every || !t.Changed(text) {
		return false
	}
	t.at = time.Now()
	return true
}

// ErrorChanged is like Changed for the text of err. A nil error counts as "".
func (t *Text) ErrorChanged(err error) bool {
	if err == nil {
		return t.Changed("")
	}
	return t.Changed(err.Error())
}
