package cli

import (
	"go/ast"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// running returns the command that the program would run for these words, such as "join dfw".
func running(t *testing.T, words ...string) *cobra.Command {
	t.Helper()
	root := newRoot("fernetcast")
	cmd, rest, err := root.Find(words)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err == nil {
		err = cmd.ValidateFlagGroups()
	}
	if err != nil || cmd == root {
		t.Fatalf("%q: %v", words, err)
	}
	return cmd
}

// typed returns the words that a shell passes to a command.
func typed(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `eval "set -- $1"; printf '%s\n' "$@"`, "sh", command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestAdvise checks which flags a suggested command gets, and that a shell and the program parse
// those flags to the given values.
func TestAdvise(t *testing.T) {
	all := unreached(t) // the only context is c
	for _, c := range []struct{ running, text, want string }{
		{"status", "x: fernetcast push dfw --force", "x: fernetcast push dfw --force"},
		{"--context sjc status", "x: fernetcast push dfw --force", "x: fernetcast --context sjc push dfw --force"},
		{"--context '' status", "x: fernetcast push dfw; kubectl --namespace a get b", "x: fernetcast push dfw; kubectl --namespace a get b"},
		{"--context 'a b' --namespace n --secret s status", "fernetcast recover --from dfw", "fernetcast --context 'a b' --namespace n --secret s recover --from dfw"},
		{"--clusters /x status", "fernetcast push, or fernetcast renew dfw", "fernetcast --clusters /x push, or fernetcast renew dfw"},
		{"--clusters secret/x status", "fernetcast renew dfw", "fernetcast --clusters secret/x renew dfw"},
		{"status --identity i", "fernetcast push dfw; fernetcast join dfw; fernetcast join dfw --keyless -o config", "fernetcast push dfw --identity i; fernetcast join dfw; fernetcast join dfw --identity i --keyless -o config"},
		{"join dfw --remote-context r --from sjc", "fernetcast leave dfw; fernetcast leave iad --local, then fernetcast join dfw", "fernetcast leave dfw --from sjc --remote-context r; fernetcast leave iad --from sjc --local, then fernetcast join dfw --from sjc --remote-context r"},
		{"recover --from dfw", "fernetcast join dfw", "fernetcast join dfw"},
		{"check --remote-context r", "fernetcast join NAME; fernetcast join dfw", "fernetcast join NAME --remote-context r; fernetcast join dfw"},
		{"renew dfw --remote-kubeconfig " + all, "fernetcast renew dfw --remote-context CONTEXT", "fernetcast renew dfw --remote-kubeconfig " + all + " --remote-context CONTEXT"},
		{"leave dfw --remote-kubeconfig " + all, "kubectl --context c get x; kubectl --context dfw get x", "kubectl --kubeconfig " + all + " --context c get x; kubectl --context dfw get x"},
		{"--kubeconfig " + all + " --context sjc leave dfw", "kubectl --context c get x; kubectl --context dfw get x; kubectl apply -k x", "kubectl --kubeconfig " + all + " --context c get x; kubectl --context dfw get x; kubectl --kubeconfig " + all + " --context sjc apply -k x"},
		{"--context sjc check", "kubectl --namespace n exec x -- fernetcast check", "kubectl --context sjc --namespace n exec x -- fernetcast check"},
		{"--context sjc status", "fernetcast is running", "fernetcast is running"},
	} {
		if got := advise(running(t, typed(t, c.running)...), c.text); got != c.want {
			t.Errorf("%s suggests\n%s, want\n%s", c.running, got, c.want)
		}
	}
	plugin := newRoot("kubectl fernetcast")
	cmd, _, _ := plugin.Find([]string{"status"})
	if got := advise(cmd, "fernetcast status"); got != "kubectl fernetcast status" {
		t.Errorf("the plugin suggests %s", got)
	}
	quoted := running(t, "--context", `a"\'b`, "status")
	if got := string(adviseJSON(quoted, []byte(`{"a":"\"x\": fernetcast push","b":"\\"}`))); got != `{"a":"\"x\": fernetcast --context 'a\"\\'\\''b' push","b":"\\"}` {
		t.Errorf("in JSON: %s", got)
	}
}

// asText returns the text of a string expression, with dfw for each part that is not known.
func asText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); e.Kind == token.STRING && err == nil {
			return verbs.ReplaceAllString(text, "dfw")
		}
	case *ast.BinaryExpr:
		return asText(e.X) + asText(e.Y)
	}
	return "dfw"
}

var (
	verbs = regexp.MustCompile(`%[-+0-9.]*[a-z]`)
	// typable matches a suggested command, up to the punctuation that ends it in a message.
	typable     = regexp.MustCompile("fernetcast (?:-|(?:check|join|leave|promote|push|recover|renew|status|wait)\\b)(?:'[^']*'|\\\\.|[^;,`\"\n()'])*")
	placeholder = strings.NewReplacer("[REMOTE...]", "dfw", "DIR", "dfw", "REMOTE", "dfw", "NAME", "dfw", "REGION", "dfw", "CONTEXT", "dfw", "HOST:PORT", "dfw:1")
	// handmade matches kubectl commands that don't come from mirror.Kubectl, so they could run in any cluster.
	handmade = regexp.MustCompile(`kubectl (annotate|create|delete|exec|get|logs|patch|-)`)
)

// TestSuggestedCommandsCanBeTyped parses each command that the program's texts suggest, with the
// flags of two different running commands. Each must be valid, and must be for the same cluster as
// the running command.
func TestSuggestedCommandsCanBeTyped(t *testing.T) {
	flags := []string{"--context", "s j c", "--kubeconfig", filepath.Join(t.TempDir(), "it's"), "--namespace", "ns", "--secret", "keys", "--clusters", "secret/x"}
	advisers := []*cobra.Command{
		running(t, append(flags, "status", "--identity", "account")...),
		running(t, append(flags, "join", "dfw", "--remote-context", "d f w", "--from", "sjc")...),
	}
	found := map[string]bool{}
	for _, file := range productFiles(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if _, calls := n.(*ast.CallExpr); !ok || calls {
				return true
			}
			text := strings.ReplaceAll(asText(e), "-- fernetcast", "") // such a command runs in a pod
			if handmade.MatchString(text) {
				t.Errorf("%s: use mirror.Kubectl", text)
			}
			for _, adviser := range advisers {
				for _, line := range typable.FindAllString(advise(adviser, text), -1) {
					line = strings.TrimRight(placeholder.Replace(line), " .:")
					found[line] = true
					cmd := running(t, typed(t, strings.TrimPrefix(line, "fernetcast "))...)
					for i := 0; i < len(flags); i += 2 {
						if got := cmd.Flag(flags[i][2:]).Value.String(); got != flags[i+1] {
							t.Errorf("%s: %s is %q", line, flags[i], got)
						}
					}
				}
			}
			_, isSum := e.(*ast.BinaryExpr)
			return !isSum
		})
	}
	if len(found) < 60 {
		t.Errorf("only %d commands were found", len(found))
	}
}
