// Package monitoring proves manifests/monitoring: that Prometheus's own promtool
// and operator take it, that each alert fires when it should and is silent in
// its near miss, and that the runbook has an answer to each. It starts no
// control plane; the runbook's commands are run by e2e/manifests.
package monitoring

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// The repository's root, and what stands in it, seen from this directory.
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

// promtool runs it, and skips the test where there is none.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("left out: there is no promtool here (Debian's package prometheus); with REQUIRE_PROMETHEUS=1 this fails")
	}
	if said, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, said)
	}
}
