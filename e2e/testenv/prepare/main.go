// Command prepare builds the control plane's programs, where need be, and prints a
// directory for KUBEBUILDER_ASSETS. `go test` shows no progress of a package
// that is still running; this does.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

func main() {
	dir, err := testenv.Prepare(context.Background(), os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}
