// Package node runs a real Kubernetes node on this machine, with its control plane and those of
// other regions. kubelet, containerd, runc, and CNI run in their own namespaces and leave nothing
// behind.
//
// It contains no assertions, which are up to the tests.
package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// packages lists the Debian packages that a node needs.
const packages = "containerd runc containernetworking-plugins iproute2 mmdebstrap util-linux"

// Tools lists the Kubernetes programs that a node needs, in addition to kube-apiserver and etcd.
var Tools = []string{"kube-controller-manager", "kube-scheduler", "kubelet"}

// cniPlugins lists the directories where CNI plugins are usually installed.
var cniPlugins = []string{"/usr/lib/cni", "/opt/cni/bin"}

// Possible returns nil if this machine can run a node. The error explains what is missing and how
// to fix it.
func Possible() error {
	if runtime.GOOS != "linux" {
		return errors.New("a node needs Linux")
	}
	if os.Geteuid() != 0 {
		return errors.New("a node needs root")
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc", "ip", "mmdebstrap", "nsenter", "unshare"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("a node needs %s; on Debian: apt-get install --no-install-recommends %s", name, packages)
		}
	}
	if plugins() == "" {
		return fmt.Errorf("a node needs the CNI plugins; on Debian: apt-get install --no-install-recommends %s", packages)
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !strings.Contains(string(text), ":memory:") {
		return errors.New("a node needs cgroup v1: v2 is untested")
	}
	if text, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(text), "\toverlay\n") {
		return errors.New("a node needs the overlay file system")
	}
	if out, err := exec.Command("unshare", "--mount", "--net", "--pid", "--ipc", "--cgroup", "--fork", "true").CombinedOutput(); err != nil {
		return fmt.Errorf("a node needs its own namespaces: %w: %s", err, out)
	}
	return nil
}

// plugins returns the directory with the CNI plugins, or "" if they are not installed.
func plugins() string {
	for _, dir := range cniPlugins {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir
		}
	}
	return ""
}
