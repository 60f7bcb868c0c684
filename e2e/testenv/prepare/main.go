// Command prepare downloads or builds kube-apiserver and etcd, and builds the Kubernetes programs
// that its arguments name. The argument "node" stands for everything that a real node needs, if
// this machine can run one. It prints a directory for KUBEBUILDER_ASSETS.
//
// Run it before `go test`, because that shows no progress while a package runs.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

func main() {
	dir, err := prepare(context.Background(), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

func prepare(ctx context.Context, programs []string) (string, error) {
	at := slices.Index(programs, "node")
	if at < 0 {
		return testenv.Prepare(ctx, os.Stderr, programs...)
	}
	programs = slices.Delete(programs, at, at+1)
	if err := node.Possible(); err != nil {
		fmt.Fprintf(os.Stderr, "== %v: e2e/node is skipped (REQUIRE_NODE=1 makes this an error)\n", err)
		return testenv.Prepare(ctx, os.Stderr, programs...)
	}
	if _, err := node.Keystone(ctx, os.Stderr); err != nil {
		return "", err
	}
	return testenv.Prepare(ctx, os.Stderr, append(programs, node.Tools...)...)
}
