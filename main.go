// Fernetcast keeps Keystone's Fernet keys the same in every region.
package main

import (
	"os"

	"github.com/fernetcast/fernetcast/internal/cli"
)

func main() { os.Exit(cli.Main()) }
