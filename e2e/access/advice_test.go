package access

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// types runs a suggested command as a shell would, with --yes and the given flags.
func (s *stage) types(code int, command string, flags ...string) testenv.Result {
	s.Helper()
	out, err := exec.CommandContext(s.Ctx, "sh", "-c", `eval "set -- $1"; printf '%s\n' "$@"`, "sh", command).Output()
	s.Must(err)
	words := strings.Split(strings.TrimSpace(string(out)), "\n")
	return s.Exits(code, &testenv.Program{Path: s.fernetcast.Path, Stdin: nil}, append(append(words[1:], "--yes"), flags...)...)
}

// TestAdviceWorksAsShown uses one kubeconfig with a context for each cluster. Its current context
// is for another cluster, and $KUBECONFIG is of no use either. Still, each command finds the
// remote's context, and each suggested command works as shown.
func TestAdviceWorksAsShown(t *testing.T) {
	s := newStage(t)
	s.main("ord") // ord isn't the kubeconfig's current context, which is sjc
	s.fernetcast = (&testenv.Program{Path: s.fernetcast.Path}).With("--kubeconfig", s.kubeconfig, "--context", "ord", "--namespace", s.NS)
	at := []string{"--server", s.cluster("dfw").URL, "--wait", "0"}
	s.exits(0, append([]string{"join", "dfw", "--yes"}, at...)...)
	s.exits(0, "renew", "dfw")
	s.exits(0, "check", "--remote-context", "dfw")
	s.says(s.exits(2, "join", "lon", "--yes").Stderr, "your kubeconfig has no context for lon; it has: dfw, iad, ord, sjc")

	refused := s.exits(2, append([]string{"join", "dallas", "--remote-context", "dfw", "--yes"}, at...)...).Stderr
	_, advice, _ := strings.Cut(refused, "to rename it: ")
	leave, join, found := strings.Cut(strings.SplitN(advice, "\n", 2)[0], ", then ")
	if !found {
		t.Fatalf("there is no advice in %s", refused)
	}
	s.says(s.types(0, leave).Stdout, "Removed dfw")
	s.says(s.types(0, join, at...).Stdout, "Joined dallas")
	if s.entry("ord", "dallas") == nil || s.entry("ord", "dfw") != nil || s.entry("sjc", "dallas") != nil {
		t.Error("the advice was for another cluster")
	}
	s.says(s.exits(0, "leave", "dallas", "--yes").Stdout, "ServiceAccount fernetcast-ord")
}
