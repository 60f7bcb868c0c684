package regions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSilentAtEveryLevel checks that no output contains a key in any form. Keys.Leaks in testenv
// finds a key's text or a part of it, base64, hex, and Go byte slices. Protobuf contains keys as
// plain text. Every test in this package searches all output of its commands and runs, so it also
// covers the situations that it creates. The following outputs could contain keys:
//
//	output                               | when                                     | test
//	run: log                             | each level, text and JSON, good and bad  | TestSilentAtEveryLevel
//	                                     | every state of a remote, mistaken files  | TestNothingShown
//	                                     | servers that quote requests              | TestEcho, TestEchoingSource
//	                                     | outages, contests, restarts, failovers   | all others, at level debug
//	run: /statusz, /readyz, /livez, 404  | good and bad keys                        | TestSilentAtEveryLevel
//	run: stack traces, core dumps        | SIGQUIT with keys in memory              | TestNothingShown
//	version, help, bad usage             |                                          | TestSilentAtEveryLevel, TestBadUsage, TestHelp
//	status: table, JSON, --watch         | each state, good and bad keys            | TestSilentAtEveryLevel, TestNothingShown
//	push, push --force                   | each state, good and bad keys            | TestSilentAtEveryLevel, TestNothingShown
//	promote                              | done, refused, forced, not answered      | TestSilentAtEveryLevel, TestEchoingSource
//	errors that contain keys             | message, details, reason, warning,       | TestEcho for a remote, TestEchoingSource
//	                                     | redirect, Retry-After, invalid HTTP      | for the main region
//	malformed keys, keys as indices      | source                                   | TestNothingShown, TestSilentAtEveryLevel, TestSourceMalformed
//	                                     | kubeconfigs and annotations              | TestNothingShown
//	types with keys, in all Go formats   |                                          | keyset: TestSetShowsNoKey, FuzzParse
func TestSilentAtEveryLevel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	built := w.Shipped()
	w.Operator, w.Runner = built.With(w.Operator.Args...), built.With(w.Runner.Args...)
	w.join("dfw", "iad")
	// dfw has a copy with another owner and unrelated keys.
	keys := w.keys()
	_, err := shared.Cluster("dfw").Put(w.Ctx, w.NS, shared.Keys.NewRepository(3, 3))
	w.Must(err)
	w.patch("dfw", claimed(5))
	w.says(1, []string{"dfw", "--force"}, "promote", mainRegion, "--yes", "--log-level", "debug")
	w.says(1, []string{"NotPromoted"}, "status", "-o", "json", "--log-level", "debug")
	w.promote("--force", "--log-level", "debug")

	key := string(keys["8"])
	bad := []testenv.Repository{
		{key[:20]: keys["8"], "1": keys["8"]}, {"1": []byte(key[:30])}, {"1": []byte(key[:21] + "\n" + key[21:])}, {"0": keys["0"]},
	}
	for i, level := range []string{"debug", "info", "warn", "error"} {
		for _, format := range []string{"text", "json"} {
			says := []string{"--log-level", level, "--log-format", format}
			run := w.run(slices.Concat(says, []string{"--resync", "1s"})...)
			good := w.rotate().Keys
			w.equal(testenv.Soon, good, "dfw", "iad")
			w.everyCommand(run, 0, says)
			secret, err := w.Home.Put(w.Ctx, w.NS, bad[i])
			w.Must(err)
			run.sees(secret.ResourceVersion)
			w.everyCommand(run, 1, says)
			_, err = w.Home.Put(w.Ctx, w.NS, good)
			w.Must(err)
			w.Must(run.Terminate())
			_, err = run.Wait(w.Ctx)
			w.Must(err)
		}
	}
}

// everyCommand runs every command and requests every path that run serves. worth is the exit code
// that status must have.
func (w *world) everyCommand(run *replica, worth int, says []string) {
	w.Helper()
	for _, command := range []string{
		"version", "--help", "run --help", "push --help", "status --help", "promote --help",
		"push", "push dfw", "push iad --force", "status", "status -o json", "status -o yaml", "promote " + mainRegion + " --yes",
		"wait --help", "wait --settle 0 --timeout 1s", "promote", "push nowhere", "rotate", "run --resync never",
	} {
		w.command(append(strings.Fields(command), says...)...)
	}
	w.watches(worth, 1, "REMOTE  ", says...)
	w.watches(worth, 1, `"source"`, append([]string{"-o", "json"}, says...)...)
	for _, path := range []string{"/statusz", "/readyz", "/livez", "/", "/metrics", "/debug/pprof/"} {
		answer, err := http.Get("http://" + run.address + path)
		w.Must(err)
		body, err := io.ReadAll(answer.Body)
		w.Must(errors.Join(err, answer.Body.Close()))
		w.noLeaks(string(body), fmt.Sprint(answer.Header))
	}
}

// TestEchoingSource checks a main region whose API server, or one of its webhooks, quotes keys in
// the same ways as in TestEcho. This happens when promote writes the mark and when fernetcast reads
// the source.
func TestEchoingSource(t *testing.T) { inGroups(t, styles(), echoingSource) }

// inGroups tests the styles in six parallel groups, because each group mostly waits for
// fernetcast's next attempt.
func inGroups(t *testing.T, list []style, try func(*world, []style)) {
	t.Parallel()
	const groups = 6
	for some := range slices.Chunk(list, (len(list)+groups-1)/groups) {
		t.Run(some[0].name, func(t *testing.T) {
			t.Parallel()
			try(newWorld(t), some)
		})
	}
}

// echoingSource tests the styles in list one after another.
func echoingSource(w *world, list []style) {
	t := w.T
	keys := shared.Keys.NewRepository(8, 7)
	e := newEcho(t, keys, &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: testenv.SecretName, Namespace: w.NS, UID: "home", ResourceVersion: "1"},
		Type:       corev1.SecretTypeOpaque, Data: keys,
	})
	kubeconfig, err := kubeconfigFor(e.URL, "", e.Certificate().Raw)
	w.Must(err)
	home := t.TempDir()
	w.Must(testenv.WriteFile(home, "echo", kubeconfig))
	built := w.Shipped()
	w.Operator = built.With("--kubeconfig", home+"/echo", "--namespace", w.NS, "--clusters", w.Clusters, "--log-level", "debug")
	e.set(list[0])
	run := w.runProgram(w.Operator, "--resync", "100ms")
	for _, s := range list {
		e.set(s)
		r := w.command("promote", mainRegion, "--yes")
		writes, reads := e.counts()
		if r.Code != 1 || writes+reads == 0 || writes == 0 && !s.reads {
			t.Errorf("%s: promote: exit %d after %d writes and %d reads\n%s", s.name, r.Code, writes, reads, r.Stderr)
		}
		if !s.reads {
			continue
		}
		w.command("status", "-o", "json")
		// From here on, count only the reads of run, not those of commands.
		e.set(s)
		w.Until(func(context.Context) error {
			if _, reads := e.counts(); reads < 2 {
				return fmt.Errorf("%s: run sent %d reads", s.name, reads)
			}
			return nil
		})
		w.noLeaks(run.fresh())
	}
}
