// Package files_test proves `fernetcast files` on a real API server, with Keystone's
// own loader reading the key repository all the while.
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
		fmt.Fprintln(os.Stderr, "the tests of files beside Keystone's loader are left out:", err)
		return
	}
	os.Exit(testenv.Main(m, &shared, "sjc"))
}
