package logonce

import (
	"errors"
	"testing"
)

func TestText(t *testing.T) {
	var text Text
	down, denied := errors.New("down"), errors.New("denied")
	for i, step := range []struct {
		err     error
		changed bool
	}{{nil, false}, {down, true}, {down, false}, {errors.New("down"), false}, {denied, true}, {nil, true}, {nil, false}, {denied, true}} {
		if got := text.ErrorChanged(step.err); got != step.changed {
			t.Errorf("step %d: %v changed is %v, want %v", i, step.err, got, step.changed)
		}
	}
}
