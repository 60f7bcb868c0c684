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
	binary, err := findControllerManager(ctx, c.env.module, c.env.say)
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

// findControllerManager takes the binary in $KUBEBUILDER_ASSETS, where there is
// one: envtest's own have none. Else it is built as findAssets builds the others,
// and after them, because it has most of their packages in it.
func findControllerManager(ctx context.Context, module string, say io.Writer) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		path := filepath.Join(dir, controllerManager)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return buildTool(ctx, filepath.Join(module, "controlplane"), "k8s.io/kubernetes/cmd/"+controllerManager, say)
}
