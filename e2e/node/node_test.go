package node_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

func TestUp(t *testing.T) {
	if err := node.Possible(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	env, err := testenv.Open(ctx, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer env.Close()
	began := time.Now()
	n, err := node.Start(ctx, env, "sjc", "dfw", "iad")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(began))
	time.Sleep(2 * time.Second)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(began))
}
