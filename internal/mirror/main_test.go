package mirror

import (
	"testing"

	"go.uber.org/goleak"
)

// Pure code starts nothing: no goroutine is left when all tests have ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
