package testenv

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	apiserver         = "kube-apiserver"
	etcd              = "etcd"
	controllerManager = "kube-controller-manager"
)

// servers are the programs that every control plane needs.
var servers = []string{apiserver, etcd}

// Prepare downloads or builds kube-apiserver and etcd, and builds the additional Kubernetes
// programs in more. It returns a directory with all of these, for KUBEBUILDER_ASSETS. It writes
// progress to w.
func Prepare(ctx context.Context, w io.Writer, more ...string) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir, nil
	}
	module, err := moduleDir(ctx)
	if err != nil {
		return "", err
	}
	paths, err := findPrograms(ctx, module, w, append(more, servers...)...)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(module, ".assets")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("linking the control plane: %w", err)
	}
	for name, target := range paths {
		// Another run may be using the old link, so replace it atomically.
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

// moduleDir returns the directory of this Go module. The working directory must be inside it.
func moduleDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", modulePath).Output()
	if err != nil {
		return "", fmt.Errorf("finding the module %s: %w", modulePath, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// findPrograms returns the paths of programs by name. It looks in $KUBEBUILDER_ASSETS and in the
// user's cache. It downloads missing servers from envtest's release, and builds other missing
// programs.
func findPrograms(ctx context.Context, module string, w io.Writer, names ...string) (map[string]string, error) {
	key, err := controlplaneKey(module)
	if err != nil {
		return nil, err
	}
	released, built, err := cacheDirs(key)
	if err != nil {
		return nil, err
	}
	if os.Getenv("ENVTEST") == "build" {
		released = ""
	}
	paths, missing := lookUp(names, os.Getenv("KUBEBUILDER_ASSETS"), built, released)
	if len(missing) == 0 {
		return paths, nil
	}
	if missing[apiserver] && released != "" {
		if err := releasedServers.download(ctx, released, w); err == nil {
			paths, missing = lookUp(names, os.Getenv("KUBEBUILDER_ASSETS"), built, released)
		} else if _, err := fmt.Fprintf(w, "envtest's release can't be used (%v); building kube-apiserver and etcd instead.\n", err); err != nil {
			return nil, fmt.Errorf("writing progress: %w", err)
		}
	}
	if len(missing) > 0 {
		if err := buildPrograms(ctx, filepath.Join(module, "controlplane"), built, missing, w); err != nil {
			return nil, err
		}
		paths, missing = lookUp(names, os.Getenv("KUBEBUILDER_ASSETS"), built, released)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("finding the control plane: missing %v", missing)
	}
	return paths, nil
}

// lookUp finds each program in the first directory that contains it.
func lookUp(names []string, dirs ...string) (paths map[string]string, missing map[string]bool) {
	paths, missing = map[string]string{}, map[string]bool{}
	for _, name := range names {
		missing[name] = true
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); dir != "" && err == nil && missing[name] {
				paths[name] = path
				delete(missing, name)
			}
		}
	}
	return paths, missing
}

// controlplaneKey returns the cache key of a build. It changes with everything that could change
// the built programs.
func controlplaneKey(module string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, "controlplane", name))
		if err != nil {
			return "", fmt.Errorf("reading the control plane's module: %w", err)
		}
		sum.Write(text)
	}
	fmt.Fprint(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return fmt.Sprintf("%.6x", sum.Sum(nil)), nil
}

// cacheDirs returns the directories in the user's cache for envtest's release and for our builds.
func cacheDirs(key string) (released, built string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", fmt.Errorf("finding the cache: %w", err)
	}
	cache = filepath.Join(cache, "fernetcast")
	return filepath.Join(cache, "envtest-"+envtestVersion), filepath.Join(cache, "controlplane-"+key), nil
}

// buildPrograms builds all programs with one go command, because two parallel commands would
// compile shared packages twice.
func buildPrograms(ctx context.Context, module, dir string, names map[string]bool, w io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("creating the cache: %w", err)
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), ".half-")
	if err != nil {
		return fmt.Errorf("creating the cache: %w", err)
	}
	defer os.RemoveAll(half)
	var list []string
	args := []string{"build", "-o", half + string(filepath.Separator)}
	for name := range names {
		list = append(list, name)
		args = append(args, packageOf(name))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	// GOWORK=off keeps a Go workspace of the caller from changing the build. Without cgo, the build
	// reuses the standard library that make demo compiles.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if _, err := runWithProgress(cmd, "building "+strings.Join(list, ", "), w); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("creating the cache: %w", err)
	}
	for name := range names {
		if err := os.Rename(filepath.Join(half, executable(name)), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("keeping %s: %w", name, err)
		}
	}
	return nil
}

func packageOf(name string) string {
	if name == etcd {
		return "go.etcd.io/etcd/server/v3"
	}
	return "k8s.io/kubernetes/cmd/" + name
}

// executable returns the file name that go build gives a program. It is the last element of the
// package path that isn't a version.
func executable(name string) string {
	if name == etcd {
		return "server"
	}
	return name
}

// progressEvery is the interval between progress lines. A command that prints nothing for minutes
// looks hung.
const progressEvery = 5 * time.Second

// runWithProgress runs cmd and returns its stdout. It writes progress to w.
func runWithProgress(cmd *exec.Cmd, what string, w io.Writer) (string, error) {
	began := time.Now()
	tick := time.NewTicker(progressEvery)
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
				note = " (takes minutes the first time, then it is cached)"
			}
			slow = true
			if _, err := fmt.Fprintf(w, "%s: %.0f s%s\n", what, time.Since(began).Seconds(), note); err != nil {
				p.Kill()
				return "", fmt.Errorf("writing progress: %w", err)
			}
		case <-p.Done():
			if !cmd.ProcessState.Success() {
				return "", fmt.Errorf("%s: %v: %s", what, cmd.ProcessState, p.Stderr.Tail(20))
			}
			if slow {
				_, err = fmt.Fprintf(w, "%s: done after %.0f s\n", what, time.Since(began).Seconds())
			}
			return p.Stdout.String(), err
		}
	}
}
