package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// directions are for a visitor with another terminal.
func (s *stage) directions() []string {
	return []string{
		"To look from another terminal:",
		"  " + strings.Join(append([]string{s.program.Path}, s.operating("status")...), " "),
		fmt.Sprintf("  curl http://%s/statusz", s.listen),
		"  tail -f " + s.log,
		"To disturb a region, and see it mended:",
		fmt.Sprintf("  kubectl --kubeconfig %s delete secret %s", filepath.Join(s.dir, "admin-dfw"), testenv.SecretName),
		"Ctrl-C ends everything and removes it.",
	}
}
