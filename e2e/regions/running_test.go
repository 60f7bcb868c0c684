package regions

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// answers waits until a request for path gets a response with the given code.
func (r *replica) answers(path string, code int) {
	r.w.Helper()
	r.w.Until(func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address+path, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != code {
			return fmt.Errorf("%s returned %s, want %d", path, resp.Status, code)
		}
		return nil
	})
}

// logs waits until the log contains the text.
func (r *replica) logs(text string) {
	r.w.Helper()
	r.w.Until(func(context.Context) error {
		if !strings.Contains(r.Stderr.String(), text) {
			return fmt.Errorf("the log does not contain %q", text)
		}
		return nil
	})
}

// TestRunStays checks that run doesn't exit if something that it needs is missing, because a
// sidecar that exits takes its Keystone out of service. It must log the problem, and continue when
// the missing part appears.
func TestRunStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	built := w.Raced()
	good, err := w.Home.Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.SidecarRole})
	w.Must(err)
	nobody, err := shared.Address()
	w.Must(err)
	dead, err := w.Home.Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.SidecarRole, Server: "https://" + nobody})
	w.Must(err)
	dir, home := t.TempDir(), t.TempDir()
	w.Must(testenv.WriteFile(dir, "dead", dead))
	w.Must(testenv.WriteFile(dir, "broken", []byte("kind: Config\nusers: 7\n")))
	late := filepath.Join(home, ".kube")
	flags := []string{"--namespace", w.NS, "--clusters", filepath.Join(dir, "clusters"), "--resync", "2s"}
	runs := map[string]*replica{}
	for name, p := range map[string]*testenv.Program{
		"none":   built.WithEnv("HOME=" + home),
		"absent": built.With("--kubeconfig", filepath.Join(dir, "absent")),
		"broken": built.With("--kubeconfig", filepath.Join(dir, "broken")),
		"dead":   built.With("--kubeconfig", filepath.Join(dir, "dead")),
	} {
		runs[name] = w.runProgram(p, flags...)
	}
	for name, run := range runs {
		run.answers("/livez", http.StatusOK)
		run.answers("/readyz", http.StatusServiceUnavailable)
		run.answers("/elsewhere", http.StatusNotFound)
		run.source("Unread", "")
		run.logs("cannot read the source")
		if n := strings.Count(run.Stderr.String(), "the source cannot be read"); n > 2 {
			t.Errorf("%s: the same problem is logged %d times", name, n)
		}
	}

	// Provide the kubeconfig first, and then the rest.
	w.Must(os.Mkdir(late, 0o700))
	w.Must(testenv.WriteFile(late, "config", good))
	w.Must(testenv.WriteFile(dir, "absent", good))
	w.Must(testenv.WriteFile(dir, "broken", good))
	delete(runs, "dead")
	for _, run := range runs {
		run.answers("/readyz", http.StatusOK) // run has seen that the Secret doesn't exist
		run.source("Absent", "")
	}
	keys := w.keys()
	w.promote()
	w.Must(os.Mkdir(filepath.Join(dir, "clusters"), 0o700))
	w.Clusters = filepath.Join(dir, "clusters")
	w.join("dfw")
	w.equal(testenv.Soon, keys, "dfw")
	for _, run := range runs {
		run.shows("dfw", "Synced", "")
	}
}

// TestPortTaken checks a --listen port that another process uses at first. Pushes must not wait
// until the port is free.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.join("dfw")
	w.promote()
	address, err := shared.Address()
	w.Must(err)
	squatter, err := net.Listen("tcp", address)
	w.Must(err)
	t.Cleanup(func() { _ = squatter.Close() })
	process, err := w.Runner.Start("run", "--listen", address, "--log-level", "debug")
	w.Must(err)
	run := &replica{process, w, address}
	t.Cleanup(run.end)
	run.logs("address already in use")
	w.Must(shared.Cluster("dfw").Delete(w.Ctx, w.NS))
	w.equal(testenv.Soon, keys, "dfw")
	w.Must(squatter.Close())
	run.answers("/livez", http.StatusOK)
	run.answers("/readyz", http.StatusOK)
	run.shows("dfw", "Synced", "")
}

// watches runs status --watch until its output contains the text n times, stops it, and returns the
// output. It checks that the command exits with the code worth, which is the code for the last
// status.
func (w *world) watches(worth, n int, text string, args ...string) string {
	w.Helper()
	process, err := w.Operator.Start(append([]string{"status", "--watch"}, args...)...)
	w.Must(err)
	defer process.Kill()
	w.Until(func(context.Context) error {
		if strings.Count(process.Stdout.String(), text) < n {
			return errors.New("too few tables so far: " + process.Stdout.String() + process.Stderr.String())
		}
		return nil
	})
	w.Must(process.Terminate())
	if code, err := process.Wait(w.Ctx); err != nil || code != worth {
		w.Errorf("status --watch: exit %d, %v, want %d\n%s", code, err, worth, process.Stderr.String())
	}
	w.noLeaks(process.Stdout.String(), process.Stderr.String())
	return process.Stdout.String()
}
