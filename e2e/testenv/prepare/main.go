// Command prepare builds the control plane's programs, and where this machine can have a
// node, that one's parts, where need be. It prints a directory for KUBEBUILDER_ASSETS.
// `go test` shows no progress of a package that is still running; this does.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

func main() {
	dir, err := prepare(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

func prepare(ctx context.Context) (string, error) {
	if err := node.Possible(); err != nil {
		fmt.Fprintf(os.Stderr, "== %v: e2e/node is left out (with REQUIRE_NODE=1 it fails)\n", err)
		return testenv.Prepare(ctx, os.Stderr)
	}
	if _, err := node.Keystone(ctx, os.Stderr); err != nil {
		return "", err
	}
	return testenv.Prepare(ctx, os.Stderr, node.Tools...)
}
