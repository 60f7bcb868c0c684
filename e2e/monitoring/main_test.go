// Package monitoring tests manifests/monitoring. The files must be valid for promtool and the
// Prometheus Operator's types. Each alert must fire when it should, stay silent otherwise, and have
// a section in the runbook. The package starts no control plane. Package manifests runs the
// runbook's commands.
package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// These paths are relative to this directory.
const (
	repository    = "../.."
	monitoringDir = repository + "/manifests/monitoring"
	plainRules    = monitoringDir + "/rules.yaml"
)

func TestMain(m *testing.M) {
	if _, err := exec.LookPath("promtool"); err != nil && os.Getenv("REQUIRE_PROMETHEUS") != "" {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// promtool runs promtool, or skips the test if it isn't installed.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("skipped: promtool is not installed (Debian package prometheus); with REQUIRE_PROMETHEUS=1, the test fails instead")
	}
	if said, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, said)
	}
}
