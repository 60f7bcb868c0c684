package regions

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEcho checks a remote that quotes the keys that it received in some part of its response. No
// key may appear in a log, a status, or an error.
func TestEcho(t *testing.T) { inGroups(t, styles(), echoing) }

// echoing tests the styles in list one after another, each in two remotes: in one, fernetcast's
// writes create the Secret, and in the other, they update it.
func echoing(w *world, list []style) {
	t := w.T
	keys := w.keys()
	theirs := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: testenv.SecretName, Namespace: w.NS, UID: "theirs", ResourceVersion: "1"},
		Type:       corev1.SecretTypeOpaque, Data: shared.Keys.NewRepository(3, 3),
	}
	echoes := map[string]*echo{"creates": newEcho(t, keys, nil), "updates": newEcho(t, keys, theirs)}
	for name, e := range echoes {
		kubeconfig, err := kubeconfigFor(e.URL, "", e.Certificate().Raw)
		w.Must(err)
		e.set(list[0])
		w.Must(testenv.WriteFile(w.Clusters, name, kubeconfig))
	}
	w.promote()
	run := w.run("--backoff-initial", "10ms", "--backoff-max", "100ms", "--resync", "200ms")
	built := w.Shipped()
	operator := built.With(w.Operator.Args...)
	logged := 0
	for _, s := range list {
		for _, e := range echoes {
			e.set(s)
		}
		w.Until(func(context.Context) error {
			for name, e := range echoes {
				if writes, reads := e.counts(); writes+reads < 3 || writes == 0 && !s.reads {
					return fmt.Errorf("%s: %s received %d writes and %d reads", s.name, name, writes, reads)
				}
			}
			return nil
		})
		statusz := run.fresh()
		log := run.Stderr.String()
		shown := map[string]string{"/statusz": statusz, "the log": log[logged:]}
		logged = len(log)
		commands := []string{"push"}
		if s.reads { // the other commands only read from this remote
			commands = []string{"status", "status -o json", "promote sjc --yes"}
		}
		for _, command := range commands {
			r, err := operator.Run(w.Ctx, append(strings.Fields(command), "--log-level", "debug")...)
			w.Must(err)
			if r.Code != 1 {
				t.Errorf("%s: %s: exit %d, want 1\n%s", s.name, command, r.Code, r.Stderr)
			}
			shown[command] = r.Stdout + r.Stderr
		}
		for _, where := range slices.Sorted(maps.Keys(shown)) {
			if leaks := shared.Keys.Leaks(shown[where]); len(leaks) > 0 {
				t.Errorf("because a remote responded with %s, there are keys in %s: %v", s.name, where, leaks[0])
			}
		}
	}
}

// TestNothingShown checks that no command shows a key, whatever the state of the source and the
// remotes, even at the most verbose log level.
func TestNothingShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	built := w.Shipped()
	w.Operator = built.With(w.Operator.Args...) // commands run often here, and the race detector would slow them down
	keys := w.keys()
	w.join("dfw", "iad")
	nobody, err := shared.Address()
	w.Must(err)
	_, err = shared.Cluster("dfw").Put(w.Ctx, w.NS, keys)
	w.Must(err)
	w.edit(shared.Cluster("dfw"), rival, func(s *corev1.Secret) {
		s.Annotations = map[string]string{"fernetcast/region": mainRegion, "fernetcast/term": string(keys["8"])}
	})
	dead, err := shared.Cluster("ord").Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.NoRole, Server: "https://" + nobody})
	w.Must(err)
	denied, err := shared.Cluster("ord").Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.NoRole})
	w.Must(err)
	for name, data := range map[string][]byte{
		"dead": dead, "denied": denied,
		// In these files, a key takes the place of a kubeconfig or of a part of it.
		"mistaken":    keys["8"],
		"misplaced":   fmt.Appendf(nil, "current-context: %s\ncontexts: %s\n", keys["8"], keys["7"]),
		"miswritten":  fmt.Appendf(nil, "current-context: x\n%s: [%s\n", keys["8"], keys["7"]),
		"misdirected": []byte(strings.ReplaceAll(string(dead), "https://", "http://"+string(keys["8"])+"@")),
	} {
		w.Must(testenv.WriteFile(w.Clusters, name, data))
	}
	run := w.run("--backoff-max", "1s", "--resync", "1s")
	w.promote()
	w.equal(testenv.Soon, keys, "iad")
	run.shows("dfw", "Held", "Stamp")
	run.shows("dead", "Unreachable", "")
	run.shows("denied", "Denied", "")
	for _, name := range []string{"mistaken", "misplaced", "miswritten", "misdirected"} {
		run.shows(name, "Misconfigured", "")
	}
	everything := func() {
		for _, args := range [][]string{
			{"status"}, {"status", "-o", "json"}, {"push"}, {"push", "--force"}, {"promote", mainRegion, "--yes"}, {"version"}, {"status", "--help"},
		} {
			w.command(append(args, "--log-level", "debug", "--log-format", "text")...)
		}
	}
	everything()
	key := string(keys["8"])
	for _, bad := range []testenv.Repository{
		{strings.TrimRight(key, "="): keys["8"]}, {"1": []byte(key + key)}, {"1": []byte(" " + key)}, {"1": []byte(key[:30] + "*")}, {},
	} {
		secret, err := w.Home.Put(w.Ctx, w.NS, bad)
		w.Must(err)
		run.sees(secret.ResourceVersion)
		run.shows("iad", "Held", "SourceRefused")
		everything()
	}
	_, err = w.Home.Put(w.Ctx, w.NS, shared.Keys.NewRepository(2, 2))
	w.Must(err)
	run.shows("iad", "Held", "Discontinuous")
	everything()

	// Even a crash must not print a key or write it to disk.
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", run.Pid()))
	w.Must(err)
	for line := range strings.Lines(string(limits)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (f[4] != "0" || f[5] != "0") {
			t.Errorf("core dumps are on: %s", line)
		}
	}
	w.Must(run.Signal(syscall.SIGQUIT))
	if code, err := run.Wait(w.Ctx); err != nil || code != 2 || !strings.Contains(run.Stderr.String(), "goroutine ") {
		t.Errorf("run did not crash with stack traces: exit %d, %v", code, err)
	}
}
