package node_test

import (
	"context"
	"testing"
	"time"
)

// One node, and what is shown on it, in the order in which an operator would see it.
func TestNode(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	if err := furnish(ctx); err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		name string
		show func(*stage)
	}{
		{"install", (*stage).install},
		{"arrival", (*stage).arrival},
		{"faults", (*stage).faults},
		{"restarts", (*stage).restartsLoseNothing},
		{"traffic", (*stage).traffic},
	} {
		began := time.Now()
		passed := t.Run(part.name, func(t *testing.T) { part.show(newStage(ctx, t)) })
		t.Logf("%s: %.0f s", part.name, time.Since(began).Seconds())
		if !passed {
			return
		}
	}
}
