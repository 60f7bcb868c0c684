package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// directions returns hints about commands that the user can run in another terminal.
func (s *stage) directions() []string {
	return []string{
		"In another terminal:",
		"  " + strings.Join(append([]string{s.program.Path}, s.operating("status")...), " "),
		fmt.Sprintf("  curl http://%s/statusz", s.listen),
		"  tail -f " + s.log,
		"To see a repair, delete a remote's Secret:",
		fmt.Sprintf("  kubectl --kubeconfig %s delete secret %s", filepath.Join(s.dir, "admin-dfw"), testenv.SecretName),
		"Press Ctrl-C to stop everything and delete its data.",
	}
}
