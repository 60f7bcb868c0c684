package mirror

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain verifies that no goroutine remains. Pure code must not start any.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
