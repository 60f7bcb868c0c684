package cli

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fernetcast/fernetcast"

// mayImport lists which packages of this module each package may import. The lists contain no
// cycle: imports go from cli down to keyset.
var mayImport = map[string][]string{
	"":                    {"internal/cli"},
	"internal/cli":        {"watcher", "pusher", "clusters", "internal/logonce", "internal/access", "internal/preflight", "internal/probe", "internal/promotion", "internal/repository", "internal/show", "internal/telemetry", "internal/setup", "internal/kubeconfig", "internal/kube", "internal/mirror", "internal/keyset"},
	"watcher":             {"internal/logonce", "internal/view", "internal/kube", "internal/mirror"},
	"pusher":              {"internal/mirror", "internal/keyset"},
	"clusters":            {"internal/logonce", "internal/view", "internal/kubeconfig", "internal/kube", "internal/mirror", "internal/keyset"},
	"internal/view":       {},
	"internal/logonce":    {},
	"internal/kube":       {"internal/mirror"},
	"internal/setup":      {"internal/kube", "internal/mirror"},
	"internal/kubeconfig": {"internal/kube"},
	"internal/access":     {"internal/preflight", "internal/setup", "internal/kubeconfig", "internal/kube", "internal/mirror", "manifests"},
	"internal/preflight":  {"internal/setup", "internal/kubeconfig", "internal/kube", "internal/mirror"},
	"internal/probe":      {"internal/kube", "internal/mirror"},
	"internal/promotion":  {"internal/mirror", "internal/keyset"},
	"internal/repository": {"internal/logonce", "internal/mirror", "internal/keyset"},
	"internal/show":       {"internal/mirror"},
	"internal/telemetry":  {"internal/logonce", "internal/mirror"},
	"internal/mirror":     {"internal/keyset"},
	"internal/keyset":     {},
	"internal/model":      {}, // contains only tests
	"manifests":           {},
}

// mayRequire lists the modules that the program may depend on directly.
var mayRequire = []string{
	"k8s.io/client-go", "k8s.io/apimachinery", "k8s.io/api", "k8s.io/utils", "k8s.io/klog/v2",
	"github.com/KimMachineGun/automemlimit", "github.com/cenkalti/backoff/v4", "github.com/lmittmann/tint", "github.com/spf13/cobra", "github.com/spf13/pflag",
	"github.com/prometheus/client_golang", "github.com/prometheus/client_model", "golang.org/x/net", "golang.org/x/oauth2", "golang.org/x/sys", "golang.org/x/term", "golang.org/x/time", "google.golang.org/protobuf", "sigs.k8s.io/yaml", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/gophercloud/gophercloud/v2",
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestImportsGoOneWay(t *testing.T) {
	lines := goList(t, "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, module+"/...")
	if len(lines) != len(mayImport) {
		t.Errorf("there are %d packages, and %d are known here", len(lines), len(mayImport))
	}
	for _, line := range lines {
		imports := strings.Fields(line)
		name := strings.TrimPrefix(strings.TrimPrefix(imports[0], module), "/")
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s has no place in the layout", name)
		}
		for _, path := range imports[1:] {
			if own, ok := strings.CutPrefix(path, module+"/"); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s", name, own)
			}
			if host, _, _ := strings.Cut(path, "/"); name == "internal/keyset" && strings.Contains(host, ".") {
				t.Errorf("keyset may import only the standard library, but imports %s", path)
			}
		}
	}
}

func TestModuleStaysLean(t *testing.T) {
	for _, path := range goList(t, "-m", "-f", `{{if not (or .Indirect .Main)}}{{.Path}}{{end}}`, "all") {
		if path != "" && !slices.Contains(mayRequire, path) {
			t.Errorf("go.mod requires %s", path)
		}
	}
}

// TestVersionsAgree compares the modules that the program and its e2e tests share. With equal
// versions, each is compiled only once.
func TestVersionsAgree(t *testing.T) {
	versions := map[string]string{}
	for _, line := range goList(t, "-C=../../e2e", "-m", "-f", "{{.Path}} {{.Version}}", "all") {
		path, version, _ := strings.Cut(line, " ")
		versions[path] = version
	}
	for _, line := range goList(t, "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", module) {
		path, version, _ := strings.Cut(line, " ")
		if other := versions[path]; other != "" && other != version {
			t.Errorf("%s: go.mod has %s, e2e/go.mod has %s: go get the newer one in both", path, version, other)
			versions[path] = version
		}
	}
}
