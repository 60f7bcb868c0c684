//go:build linux

package node_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/node/chart"
)

const (
	namespace = "openstack"
	// version is the version that make image builds, and therefore also the image's tag.
	version = "v0.0.0-node"
)

// workstation is where an operator's commands run, in the node's network. It has kubectl,
// fernetcast, and a kubeconfig with a context for each region.
var workstation struct {
	dir string
	env []string
}

// furnish pushes the images to the node's registry, and creates the objects that exist in each
// cluster before an operator installs fernetcast.
func furnish(ctx context.Context) error {
	n, env := shared.node, shared.env
	cloud, err := keystone.Open(ctx, env)
	if err != nil {
		return err
	}
	if err := chart.Images(ctx, n, env, version, cloud.Database()); err != nil {
		return err
	}
	openstack, err := chart.Open(env)
	if err != nil {
		return err
	}
	if err := equip(ctx); err != nil {
		return err
	}
	for _, region := range append([]string{mainRegion}, remotes...) {
		client, err := n.Client(region)
		if err != nil {
			return err
		}
		if err := chart.MakeNamespace(ctx, client, env.Keys, namespace, "restricted"); err != nil {
			return err
		}
		if region == mainRegion { // the loop runs as root
			if err := chart.MakeNamespace(ctx, client, env.Keys, phx, "privileged"); err != nil {
				return err
			}
		}
	}
	if err := joinPhx(ctx); err != nil { // join phx before the pods start, because running pods would see it only after the kubelet's next sync
		return err
	}
	return install(ctx, openstack)
}

// equip sets up the workstation.
func equip(ctx context.Context) error {
	var err error
	if workstation.dir, err = shared.env.Directory("workstation-"); err != nil {
		return err
	}
	program, err := shared.env.Program(ctx)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Join(workstation.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for name, target := range map[string]string{"kubectl": self, "fernetcast": program.Path} {
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	kubeconfig, err := shared.node.Kubeconfig()
	if err != nil {
		return err
	}
	workstation.env = []string{"HOME=" + workstation.dir, "KUBECONFIG=" + kubeconfig, "PATH=" + bin + ":" + os.Getenv("PATH")}
	return nil
}

// shell runs a script in the repository's root directory, as if an operator typed each line. It
// stops at the first command that fails.
func shell(ctx context.Context, script string) (string, error) {
	sh := shared.node.Command(ctx, "/bin/sh", "-eu")
	sh.Dir, sh.Env, sh.Stdin = shared.env.Repository(), workstation.env, strings.NewReader(script)
	var out bytes.Buffer
	sh.Stdout, sh.Stderr = &out, &out
	if err := sh.Run(); err != nil {
		return out.String(), fmt.Errorf("%q: %w\n%s", script, err, out.String())
	}
	return out.String(), nil
}
