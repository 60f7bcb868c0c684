//go:build linux

package node_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	mainRegion = "sjc"
	// startTime is the timeout for the start. It is long enough to build everything for the first
	// time.
	startTime = 25 * time.Minute
)

var remotes = []string{"dfw", "iad"}

var shared struct {
	env  *testenv.Env
	node *node.Node
}

func TestMain(m *testing.M) {
	// If this binary is run through a link named kubectl, it acts as the kubectl of the version in
	// go.mod.
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
	}
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	err := node.Possible()
	if err == nil {
		err = keystone.Installed()
	}
	switch {
	case err == nil:
		os.Exit(run(m))
	case os.Getenv("REQUIRE_NODE") != "":
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "skipping the tests on a real node:", err)
}

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	var err error
	if shared.env, err = testenv.Open(ctx, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		return 1
	}
	code := m.Run()
	if err := shared.env.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "node: closing:", err)
		return 1
	}
	return code
}
