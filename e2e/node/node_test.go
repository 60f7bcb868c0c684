//go:build linux

package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestLongNode runs all parts of the test on one node, in the order in which an operator would
// encounter them.
func TestLongNode(t *testing.T) {
	testenv.Long(t)
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	began := time.Now()
	var err error
	if shared.node, err = node.Start(ctx, shared.env, append([]string{mainRegion}, remotes...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dir := shared.node.Dir()
		if err := shared.node.Close(); err != nil {
			t.Error(err)
		}
		if left := traces(dir); len(left) > 0 {
			t.Errorf("the node left behind %q", left)
		}
	})
	t.Logf("the node is ready after %.0f s", time.Since(began).Seconds())
	testenv.Must(t, furnish(ctx))
	for _, part := range []struct {
		name string
		show func(*stage)
	}{
		{"install", (*stage).install},
		{"faults", (*stage).faults},
		{"restarts", (*stage).restartsLoseNothing},
		{"rotations", (*stage).rotations},
		{"gate", (*stage).gate},
	} {
		began := time.Now()
		passed := t.Run(part.name, func(t *testing.T) { part.show(newStage(ctx, t)) })
		t.Logf("%s: %.0f s", part.name, time.Since(began).Seconds())
		if !passed {
			return
		}
	}
}
