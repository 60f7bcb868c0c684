package testenv

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Prepare builds the control plane's programs, where need be, and returns a
// directory that holds them, for KUBEBUILDER_ASSETS: whoever has that in the
// environment spares a few seconds at each Open. The directory holds links into
// the build cache, so it is not to be relied on for days.
//
// More are programs of Kubernetes beside those that every test needs.
func Prepare(ctx context.Context, say io.Writer, more ...string) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir, nil
	}
	module, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	built, err := findAssets(ctx, module, say)
	if err != nil {
		return "", err
	}
	programs := map[string]string{"kube-apiserver": built.apiserver, "etcd": built.etcd}
	for _, name := range append([]string{controllerManager}, more...) {
		if programs[name], err = findTool(ctx, module, name, say); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(module, ".assets")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("linking the control plane: %w", err)
	}
	for name, target := range programs {
		// Renamed into place: another run may be using the old link.
		half := filepath.Join(dir, fmt.Sprintf(".%s-%d", name, os.Getpid()))
		if err := os.Symlink(target, half); err != nil {
			return "", fmt.Errorf("linking the control plane: %w", err)
		}
		if err := os.Rename(half, filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("linking the control plane: %w", err)
		}
	}
	return dir, nil
}

// moduleDir is where this Go module is, whichever folder of it we are in.
func moduleDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", modulePath).Output()
	if err != nil {
		return "", fmt.Errorf("finding the module %s: %w", modulePath, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// assets are the paths of the control plane's programs.
type assets struct {
	apiserver, etcd string
}

// findAssets takes the binaries in $KUBEBUILDER_ASSETS, and else has the go
// tool build them from the module e2e/controlplane. The build cache keeps
// them: only the first build takes minutes.
func findAssets(ctx context.Context, module string, say io.Writer) (assets, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		a := assets{apiserver: filepath.Join(dir, "kube-apiserver"), etcd: filepath.Join(dir, "etcd")}
		for _, path := range []string{a.apiserver, a.etcd} {
			if _, err := os.Stat(path); err != nil {
				return assets{}, fmt.Errorf("finding the control plane in KUBEBUILDER_ASSETS: %w", err)
			}
		}
		return a, nil
	}
	var a assets
	build, ctx := errgroup.WithContext(ctx)
	for tool, path := range map[string]*string{
		"k8s.io/kubernetes/cmd/kube-apiserver": &a.apiserver,
		"go.etcd.io/etcd/server/v3":            &a.etcd,
	} {
		build.Go(func() (err error) {
			*path, err = buildTool(ctx, filepath.Join(module, "controlplane"), tool, say)
			return err
		})
	}
	return a, build.Wait()
}

// buildTool returns the path of tool's binary in the build cache.
func buildTool(ctx context.Context, dir, tool string, say io.Writer) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", tool)
	cmd.Dir = dir
	// A workspace or flags of the caller's own must not change what is built.
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := runWithProgress(cmd, "building "+tool, say)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(out), nil
}

// runWithProgress runs cmd and returns its stdout. When it takes long it says
// so every ten seconds: a build that prints nothing for minutes looks hung.
func runWithProgress(cmd *exec.Cmd, what string, say io.Writer) (string, error) {
	began := time.Now()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	p, err := startProcess(cmd, nil, nil)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	slow := false
	for {
		select {
		case <-tick.C:
			note := ""
			if !slow {
				note = " (the first time takes some minutes; the Go build cache keeps it)"
			}
			slow = true
			if _, err := fmt.Fprintf(say, "%s: %.0f s%s\n", what, time.Since(began).Seconds(), note); err != nil {
				p.Kill()
				return "", fmt.Errorf("telling the progress: %w", err)
			}
		case <-p.Done():
			if !cmd.ProcessState.Success() {
				return "", fmt.Errorf("%s: %v: %s", what, cmd.ProcessState, p.Stderr.Tail(20))
			}
			if slow {
				_, err = fmt.Fprintf(say, "%s: done after %.0f s\n", what, time.Since(began).Seconds())
			}
			return p.Stdout.String(), err
		}
	}
}
