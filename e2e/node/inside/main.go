//go:build linux

// Command inside is what a test's node is made of, beside the programs of Kubernetes
// themselves: a guard, which outlives the test for as long as it takes to leave nothing
// behind, and within namespaces of the node's own the first process, which starts the
// programs and starts again what ends.
//
// It knows nothing of Kubernetes.
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
			err = initialise(os.Args[2])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}
