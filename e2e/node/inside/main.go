//go:build linux

// Command inside runs the processes that hold a test's node together. The guard starts the node,
// and cleans up after the test has ended. The node's first process, inside the node's namespaces,
// starts and restarts the programs.
//
// It contains nothing specific to Kubernetes: programs.json lists the programs to run.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func main() {
	// The kernel sends the parent-death signal when the thread that forked the child ends, so keep
	// this thread.
	runtime.LockOSThread()
	err := errors.New("usage: inside guard|init DIRECTORY")
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "guard":
			err = guard(os.Args[2])
		case "init":
			err = initialize(os.Args[2])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}
