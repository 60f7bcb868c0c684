//go:build linux

// Command inside runs a test's node, except for the programs of Kubernetes. The guard outlives the
// test until it has cleaned up. In the node's namespaces, the first process starts and restarts the
// programs.
//
// It knows nothing about Kubernetes.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func main() {
	// The kernel sends the parent-death signal when the thread that forked ends.
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
