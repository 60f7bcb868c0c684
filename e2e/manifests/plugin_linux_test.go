package manifests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// Through a link named kubectl-fernetcast, the program works as a kubectl plugin. Through a link
// named kubectl_complete-fernetcast, it completes the plugin's commands.
func TestPlugin(t *testing.T) {
	ctx := within(t, shortBuild)
	program, err := shared.Program(ctx)
	testenv.Must(t, err)
	operator := newWorkstation(t, program.Path, map[string]*testenv.Cluster{"lab": shared.Cluster("lab")})
	links := t.TempDir()
	for _, name := range []string{"kubectl-fernetcast", "kubectl_complete-fernetcast"} {
		testenv.Must(t, os.Symlink(program.Path, filepath.Join(links, name)))
	}
	for i, variable := range operator.env {
		if path, ok := strings.CutPrefix(variable, "PATH="); ok {
			operator.env[i] = "PATH=" + links + ":" + path
		}
	}
	for command, says := range map[string]string{
		"kubectl fernetcast version":                                "fernetcast ",
		"kubectl fernetcast push --help":                            "  kubectl fernetcast push [REMOTE...] [flags]\n",
		"kubectl fernetcast bogus 2>&1 || true":                     "Run 'kubectl fernetcast --help' for usage.\n",
		"kubectl __complete fernetcast prom":                        "promote\t",
		"kubectl __complete fernetcast status --con":                "--context",
		"kubectl __complete fernetcast status --context l":          "lab\n",
		"fernetcast completion bash && fernetcast completion zsh":   "__complete",
		"fernetcast completion fish":                                "__complete",
		"fernetcast __complete push --kubeconfig /nowhere '' 2>&1":  ":4\n",
		"fernetcast __complete status --context l":                  "lab\n",
		"fernetcast __complete status --kubeconfig /nowhere --cont": "--context",
	} {
		if said := operator.shell(ctx, t, command); !strings.Contains(said, says) {
			t.Errorf("%s: %q is not in:\n%s", command, says, said)
		}
	}
}
