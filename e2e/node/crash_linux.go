package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Crash kills the kubelet, the container runtime and every container at once, as a machine
// that loses its power does. The node's first process starts the first two again; what
// a pod had in memory stays.
func (n *Node) Crash() error {
	var killed int
	for _, doomed := range []func(args []string) bool{
		func(args []string) bool {
			return strings.HasPrefix(filepath.Base(args[0]), "kubelet") || filepath.Base(args[0]) == "containerd"
		},
		func(args []string) bool { return strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") },
	} {
		entries, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return fmt.Errorf("crashing the node: %w", err)
		}
		for _, dir := range entries {
			text, err := os.ReadFile(filepath.Join(dir, "cmdline"))
			args := strings.Split(string(text), "\x00")
			if err != nil || !n.has(dir) || !doomed(args) {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				killed++
			}
		}
	}
	for _, dir := range n.contained() {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed < 3 {
		return fmt.Errorf("crashing the node: only %d processes were found", killed)
	}
	return nil
}

// has says whether a process of /proc is one of the node's own, and no container's.
func (n *Node) has(dir string) bool {
	own, err := os.Readlink(filepath.Join(dir, "ns/pid"))
	if err != nil {
		return false
	}
	ours, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.pid))
	return err == nil && own == ours
}

// contained are the processes of the node's containers, as directories of /proc: those in
// its cgroups that are not its own.
func (n *Node) contained() (found []string) {
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range entries {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err == nil && strings.Contains(string(text), "/"+filepath.Base(n.dir)+"/kubepods/") && !n.has(dir) {
			found = append(found, dir)
		}
	}
	return found
}

// Freeze stops a region's API server as a hung machine would: connections stay open and
// nothing answers. Thaw lets it go on.
func (n *Node) Freeze(region string) error { return n.signal(region, syscall.SIGSTOP) }

// Thaw lets a frozen API server go on.
func (n *Node) Thaw(region string) error { return n.signal(region, syscall.SIGCONT) }

func (n *Node) signal(region string, sig syscall.Signal) error {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return fmt.Errorf("signalling the API server of %s: %w", region, err)
	}
	for _, dir := range entries {
		text, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !n.has(dir) || !strings.Contains(string(text), "--cert-dir="+filepath.Join(n.dir, region)+"\x00") || !strings.Contains(string(text), "--etcd-prefix") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return err
		}
		return syscall.Kill(pid, sig)
	}
	return fmt.Errorf("signalling the API server of %s: there is none", region)
}
