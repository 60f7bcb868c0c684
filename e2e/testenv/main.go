package testenv

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Main runs the tests of a package on one shared Env, with a cluster for each name, and returns the
// exit code. Use it in TestMain:
//
//	var shared *testenv.Env
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m, &shared, "sjc", "dfw", "iad", "ord")) }
//
// Each test must use its own namespace, from Env.Namespace.
func Main(m interface{ Run() int }, shared **Env, names ...string) int {
	// The first build of kube-apiserver takes minutes.
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
