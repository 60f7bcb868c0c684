package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StartControllers starts kube-controller-manager with only the named controllers, and builds it
// first if necessary. It doesn't wait until the controllers work, which takes a few seconds. They
// run until the Env is closed.
func (c *Cluster) StartControllers(ctx context.Context, names ...string) (*Process, error) {
	binary, err := c.env.Tool(ctx, controllerManager)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := c.AdminKubeconfig("")
	if err != nil {
		return nil, fmt.Errorf("starting the controllers of %s: %w", c.Name, err)
	}
	if err := WriteFile(c.dir, controllerManager, kubeconfig); err != nil {
		return nil, fmt.Errorf("starting the controllers of %s: %w", c.Name, err)
	}
	in := func(name string) string { return filepath.Join(c.dir, name) }
	p, err := startProcess(exec.Command(binary,
		"--kubeconfig="+in(controllerManager), "--controllers="+strings.Join(names, ","),
		"--root-ca-file="+in("ca.crt"), "--service-account-private-key-file="+in(signingKey),
		"--leader-elect=false", "--secure-port=0",
	), nil, nil)
	if err != nil {
		return nil, err
	}
	c.env.onClose(p.Kill)
	return p, nil
}

// Built reports whether Tool can find all of these programs without building any.
func (g *Env) Built(names ...string) bool {
	key, err := controlplaneKey(g.module)
	if err != nil {
		return false
	}
	_, built, err := cacheDirs(key)
	_, missing := lookUp(names, os.Getenv("KUBEBUILDER_ASSETS"), built)
	return err == nil && len(missing) == 0
}

// Tool returns the path of a Kubernetes program. It builds the program if it is neither in
// $KUBEBUILDER_ASSETS (envtest's release has only servers) nor in the cache.
func (g *Env) Tool(ctx context.Context, name string) (string, error) {
	paths, err := findPrograms(ctx, g.module, g.progress, name)
	return paths[name], err
}
