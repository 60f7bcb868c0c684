package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// directions returns hints about commands that the user can run in another terminal.
func (s *stage) directions() []string {
	lines := []string{
		"In another terminal:",
		"  " + strings.Join(append([]string{s.program.Path}, s.operating("status")...), " "),
		fmt.Sprintf("  curl http://%s/statusz", s.listen),
		"  tail -f " + s.log,
	}
	if len(s.tokens) > 0 {
		lines = append(lines, "To test a token of each region in all regions:", "  "+s.probe())
	}
	return append(lines,
		"To see a repair, delete a remote's Secret:",
		fmt.Sprintf("  kubectl --kubeconfig %s delete secret %s", filepath.Join(s.dir, "admin-dfw"), testenv.SecretName),
		"Press Ctrl-C to stop everything and delete its data.",
	)
}

// probe returns a command that probes the Keystones.
func (s *stage) probe() string {
	command := append([]string{"env"}, s.tokens[0].Environment()...)
	command = append(command, s.program.Path)
	command = append(command, s.operating("probe", "--matrix")...)
	for _, region := range s.tokens {
		command = append(command, "--endpoint", region.Name+"="+region.Endpoint())
	}
	return strings.Join(command, " ")
}
