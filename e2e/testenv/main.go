package testenv

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Main runs a package's tests on one env that they share, with a cluster
// for each name, and returns the exit code. A package's TestMain is
//
//	var shared *testenv.Env
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m, &shared, "sjc", "dfw", "iad", "ord")) }
//
// Each test works in a namespace of its own: Env.Namespace.
func Main(m interface{ Run() int }, shared **Env, names ...string) int {
	// Generous: the first build of a kube-apiserver takes minutes.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	g, err := Open(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return 1
	}
	*shared = g
	code := 1
	if err := g.Start(ctx, names...); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
	} else {
		code = m.Run()
	}
	if err := g.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv: closing:", err)
		return 1
	}
	return code
}
