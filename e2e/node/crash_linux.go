package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Crash kills the kubelet, the container runtime, and all containers, as a power failure would. The
// node's first process then restarts the kubelet and the runtime. Unlike after a power failure, the
// in-memory volumes of pods remain.
func (n *Node) Crash() error {
	all, err := n.Processes()
	if err != nil {
		return fmt.Errorf("crashing the node: %w", err)
	}
	var killed int
	// First kill the processes that would restart the others.
	for _, doomed := range []func(p Process, name string) bool{
		func(p Process, name string) bool {
			return p.Container == "" && (strings.HasPrefix(name, "kubelet") || name == "containerd")
		},
		func(p Process, name string) bool {
			return p.Container == "" && strings.HasPrefix(name, "containerd-shim")
		},
		func(p Process, _ string) bool { return p.Container != "" },
	} {
		for _, p := range all {
			if doomed(p, filepath.Base(p.Args[0])) && syscall.Kill(p.Pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
	}
	if killed < 3 {
		return fmt.Errorf("crashing the node: only %d processes were found", killed)
	}
	return nil
}

// Freeze makes a region's API server behave like a hung machine: connections stay open, but nothing
// answers. Thaw ends this.
func (n *Node) Freeze(region string) error { return n.signal(region, syscall.SIGSTOP) }

// Thaw resumes a frozen API server.
func (n *Node) Thaw(region string) error { return n.signal(region, syscall.SIGCONT) }

func (n *Node) signal(region string, sig syscall.Signal) error {
	all, err := n.Processes()
	if err != nil {
		return fmt.Errorf("signaling the API server of %s: %w", region, err)
	}
	for _, p := range all {
		if p.Container == "" && slices.Contains(p.Args, "--cert-dir="+filepath.Join(n.dir, region)) &&
			slices.ContainsFunc(p.Args, func(arg string) bool { return strings.HasPrefix(arg, "--etcd-prefix") }) {
			return syscall.Kill(p.Pid, sig)
		}
	}
	return fmt.Errorf("signaling the API server of %s: there is none", region)
}

// starving is a shell script that moves itself to the cgroup $0 and allocates memory until the
// kernel kills a process.
const starving = `echo $$ >"$0/cgroup.procs"
exec head --bytes 1G /dev/zero >&3`

// Starve uses up all memory of a process's container, so that the kernel kills the process. Then it
// frees the memory. The kernel kills the largest process first, but the memory that Starve takes
// doesn't count toward the size of any process.
func (n *Node) Starve(ctx context.Context, p Process) error {
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Pid))
	if err != nil {
		return fmt.Errorf("starving a container: %w", err)
	}
	_, after, ok := strings.Cut(string(groups), ":memory:")
	if !ok {
		return fmt.Errorf("starving a container: the process is not in a memory cgroup: %q", groups)
	}
	path, _, _ := strings.Cut(after, "\n")
	fd, err := unix.MemfdCreate("ballast", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("starving a container: %w", err)
	}
	ballast := os.NewFile(uintptr(fd), "ballast")
	defer ballast.Close()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-ec", starving, filepath.Join("/sys/fs/cgroup/memory", path))
	cmd.ExtraFiles = []*os.File{ballast}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		return nil
	}
	return fmt.Errorf("starving a container: the kernel killed no process: %w\n%s", err, out)
}
