package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	for args, want := range map[string]int{
		"version": 0, "--help": 0, "run --help": 0, "help push": 0,
		"": 2, "nonsense": 2, "version x": 2, "run x": 2, "status x": 2, "run --nonsense": 2,
		"run --clusters secret/x": 2, "run --resync 0": 2, "run --backoff-initial 1m": 2, "run --listen 9464": 2, "run --listen :x": 2,
		"run --log-level trace": 2, "run --log-level DEBUG-8": 2, "run --log-format xml": 2, "run --namespace A_b": 2, "run --secret -": 2,
		"status --output xml": 2, "status --request-timeout -1s": 2, "status --kubeconfig /nowhere": 2, "status --clusters secret/": 2,
		"promote": 2, "promote a b": 2, "promote sjc": 2, "promote --yes \n": 2,
	} {
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // what is taken to be good ends at once
		if got := execute(ctx, call{"fernetcast", strings.Split(args, " ")}, strings.NewReader(""), &out, &out); args != "" && got != want {
			t.Errorf("%q: exit code %d, want %d\n%s", args, got, want, out.String())
		}
		if want == exitUsage && !strings.Contains(out.String(), "fernetcast: ") {
			t.Errorf("%q: it is not said what is wrong:\n%s", args, out.String())
		}
	}
	if got := execute(t.Context(), call{name: "fernetcast"}, nil, &bytes.Buffer{}, &bytes.Buffer{}); got != exitUsage {
		t.Errorf("without a command: exit code %d", got)
	}
}

func TestCalledAsPlugin(t *testing.T) {
	for path, want := range map[string]string{"/usr/bin/fernetcast": "fernetcast", "./kubectl-fernetcast": "kubectl fernetcast"} {
		var out bytes.Buffer
		if got := execute(t.Context(), calledAs([]string{path, "status", "--help"}), nil, &out, &out); got != exitOK || !strings.Contains(out.String(), "\n  "+want+" status [flags]\n") {
			t.Errorf("%s: exit code %d, and the usage is not that of %q:\n%s", path, got, want, out.String())
		}
	}
	var out bytes.Buffer
	if got := execute(t.Context(), calledAs([]string{"kubectl_complete-fernetcast", "prom"}), nil, &out, &out); got != exitOK || !strings.HasPrefix(out.String(), "promote\t") {
		t.Errorf("completion: exit code %d\n%s", got, out.String())
	}
}
