// Package files_test tests `fernetcast files` with a real API server, while Keystone's own loader
// reads the key repository.
package files_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

var shared *testenv.Env

func TestMain(m *testing.M) {
	if err := keystone.Installed(); err != nil {
		if os.Getenv("REQUIRE_KEYSTONE") != "" {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, "skipping the tests of files next to Keystone's loader:", err)
		return
	}
	os.Exit(testenv.Main(m, &shared, "sjc"))
}
