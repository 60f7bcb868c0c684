package cli

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that a test started goes on when all have ended.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
