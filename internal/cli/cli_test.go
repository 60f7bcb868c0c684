package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadUsage checks that invalid arguments are rejected before the command does anything. The
// exit code is 2, stderr explains the error, and stdout contains at most the usage.
func TestBadUsage(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"", "a command is required"},
		{"rum", `no command "rum"; did you mean run?`},
		{"--frobnicate", "frobnicate"},
		{"run --frobnicate", "frobnicate"},
		{"status --frobnicate", "frobnicate"},
		{"push --frobnicate", "frobnicate"},
		{"promote sjc --frobnicate", "frobnicate"},
		{"version --frobnicate", "frobnicate"},
		{"run sjc", "sjc"},
		{"version dfw", "dfw"},
		{"promote", "one REGION"},
		{"promote sjc dfw --yes", "one REGION"},
		{"promote sjc", "--yes"},
		{"promote sjc\n --yes", "name"},
		{"push nowhere", `"nowhere"`},
		{"push dwf", `no remote "dwf"; did you mean dfw? existing remotes: dfw`},
		{"push nowhere dfw --force", `"nowhere"`},
		{"run --clusters secret/fernetcast-clusters", "directory"},
		{"status --clusters secret/", "Secret"},
		{"status --clusters secret/A_b", "Secret"},
		{"status --output xml", "xml"},
		{"status -n Open_Stack", "--namespace"},
		{"status --secret Keys!", "--secret"},
		{"run --secret -", "--secret"},
		{"status --request-timeout 0s", "--request-timeout"},
		{"push --request-timeout -1s", "--request-timeout"},
		{"status --request-timeout soon", "soon"},
		{"status --log-level loud", "loud"},
		{"run --log-level DEBUG-8", "DEBUG-8"},
		{"status --log-format xml", "xml"},
		{"status --kubeconfig /nonexistent", "/nonexistent"},
		{"status --context nowhere", "nowhere"},
		{"run --request-timeout 10", "10"},
		{"run --resync 0", "--resync"},
		{"run --resync -1m", "--resync"},
		{"run --backoff-initial 0s", "--backoff-initial"},
		{"run --backoff-max -30s", "--backoff-max"},
		{"run --backoff-initial 1m --backoff-max 1s", "--backoff-max"},
		{"run --listen 9464", "--listen"},
		{"run --listen :99999", "--listen"},
		{"run --listen :port", "--listen"},
		{"run --listen 127.0.0.1:-1", "--listen"},
		{"files", "files requires exactly one DIR"},
		{"files a b", "files requires exactly one DIR"},
		{"files keys --from keys", "neither directory may contain"},
		{"files keys --from keys/x", "neither directory may contain"},
		{"files keys --pause -1s", "--pause -1s"},
		{"files keys --pause 2m", "--pause 2m:"},
		{"files keys --listen 9466", "--listen"},
		{"wait --settle -1s", "--settle -1s"},
		{"wait --timeout 0", "--timeout"},
		{"recover --yes", "--from REMOTE"},
		{"recover --from dfw", "add --yes"},
		{"renew --ttl 1m", "--ttl 1m:"},
		{"check --output xml", "--output"},
		{"join dfw --yes", "--remote-context"},
		{"join dfw --yes --remote-context nowhere", `no context "nowhere"; it has: c`},
		{"join Dfw_1 --yes --remote-context c", "is not a valid remote name"},
		{"join dfw --remote-context c", "add --yes"},
		{"join dfw --yes --remote-context c --ttl 1m", "--ttl 1m:"},
		{"join dfw --yes --remote-context c --clusters /tmp", "secret/NAME"},
		{"join dfw --yes --remote-context c --output xml", "--output"},
		{"join dfw --yes --remote-context c --from -", "--from"},
		{"join dfw --yes --remote-context c --identity A_B", "--identity"},
		{"join dfw --yes --remote-context c --output config", "require --keyless"},
		{"join dfw --yes --remote-context c --keyless --at http://keys.example.com", "must start with https://"},
		{"join dfw --yes --remote-context c --keyless --static x", "require -o config"},
	} {
		t.Setenv("KUBECONFIG", unreached(t))
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // so that a command with accepted arguments exits immediately
		args := strings.Split(c.args, " ")
		if c.args == "" {
			args = nil
		}
		if strings.HasPrefix(c.args, "push") {
			clusters := t.TempDir()
			if err := os.WriteFile(filepath.Join(clusters, "dfw.yaml"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--clusters", clusters)
		}
		var out, errors bytes.Buffer
		got := execute(ctx, call{"fernetcast", args}, strings.NewReader(""), &out, &errors)
		if got != exitUsage || !strings.Contains(errors.String(), c.says) || !strings.Contains(errors.String(), "fernetcast: ") || out.Len() > 0 && c.args != "" {
			t.Errorf("%q: exit code %d, want %d and %q:\n%s%s", c.args, got, exitUsage, c.says, out.String(), errors.String())
		}
	}
}

// unreached returns the path of a kubeconfig for a cluster that can't be reached.
func unreached(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	const text = `{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
		"clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "u", "user": {"token": "t"}}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHelp checks that help is printed on stdout.
func TestHelp(t *testing.T) {
	for args, says := range map[string]string{
		"--help": "Exit codes", "run --help": "SIGTERM", "promote --help": "REGION", "help push": "--force", "status --help": "--watch", "version --help": "version",
		"version": "fernetcast", "--version": "fernetcast ",
	} {
		var out, errors bytes.Buffer
		if got := execute(t.Context(), call{"fernetcast", strings.Fields(args)}, nil, &out, &errors); got != exitOK || errors.Len() > 0 || !strings.Contains(out.String(), says) {
			t.Errorf("%s: exit code %d, want %q on stdout:\n%s%s", args, got, says, out.String(), errors.String())
		}
	}
}

func TestCalledAsPlugin(t *testing.T) {
	for path, want := range map[string]string{"/usr/bin/fernetcast": "fernetcast", "./kubectl-fernetcast": "kubectl fernetcast"} {
		var out bytes.Buffer
		if got := execute(t.Context(), calledAs([]string{path, "version", "--help"}), nil, &out, &out); got != exitOK || !strings.Contains(out.String(), "\n  "+want+" version [flags]\n") {
			t.Errorf("%s: exit code %d, and the usage is not that of %q:\n%s", path, got, want, out.String())
		}
	}
	var out bytes.Buffer
	if got := execute(t.Context(), calledAs([]string{"kubectl_complete-fernetcast", "prom"}), nil, &out, &out); got != exitOK || !strings.HasPrefix(out.String(), "promote\t") {
		t.Errorf("completion: exit code %d\n%s", got, out.String())
	}
}
