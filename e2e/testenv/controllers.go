package testenv

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const controllerManager = "kube-controller-manager"

// StartControllers runs kube-controller-manager on the cluster, with the named
// controllers and no others, until the env is closed. It builds the program, if
// need be. It returns before the controllers have begun: what they do is there
// some seconds later.
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

// Tool is the path of a program of Kubernetes, by its name. Where $KUBEBUILDER_ASSETS has
// none, as envtest's own have not, it is built, if need be.
func (g *Env) Tool(ctx context.Context, name string) (string, error) {
	switch name {
	case "etcd":
		return g.assets.etcd, nil
	case "kube-apiserver":
		return g.assets.apiserver, nil
	}
	return findTool(ctx, g.module, name, g.say)
}

// findTool is Tool for those that are built after the API server, because they have most
// of its packages in them.
func findTool(ctx context.Context, module, name string, say io.Writer) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return buildTool(ctx, filepath.Join(module, "controlplane"), "k8s.io/kubernetes/cmd/"+name, say)
}
