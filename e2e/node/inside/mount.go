//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// written lists directories of this machine that the node's programs write to. An overlay redirects
// these writes to the node's own directory.
var written = []string{"/var", "/etc", "/run", "/opt"}

// sysctls lists the values that the kubelet requires. The kubelet would set them for the whole
// machine, so the node has files with these values in place of the real ones.
var sysctls = map[string]string{"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"}

// furnish sets up the mounts and the network in the node's namespaces.
func furnish(dir string) error {
	groups, err := hierarchies()
	if err != nil {
		return err
	}
	type step struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}
	steps := []step{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE, ""},
		{"", "/", "", syscall.MS_REC | syscall.MS_SHARED, ""}, // the kubelet propagates mounts to pods
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
		{"cgroup", cgroupRoot, "tmpfs", 0, "mode=755"},
	}
	for controllers := range groups {
		target := filepath.Join(cgroupRoot, strings.TrimPrefix(controllers, "name="))
		data := controllers
		if strings.HasPrefix(controllers, "name=") {
			data = "none," + controllers
		}
		steps = append(steps, step{"cgroup", target, "cgroup", 0, data})
	}
	for name, value := range sysctls {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return fmt.Errorf("writing a sysctl: %w", err)
		}
		steps = append(steps, step{file, "/proc/sys/" + name, "", syscall.MS_BIND, ""})
	}
	for _, lower := range written {
		upper, work := filepath.Join(dir, "upper"+lower), filepath.Join(dir, "work"+lower)
		for _, d := range []string{upper, work} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return fmt.Errorf("creating an overlay: %w", err)
			}
		}
		steps = append(steps, step{"overlay", lower, "overlay", 0, "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work})
	}
	for _, s := range steps {
		if strings.HasPrefix(s.target, cgroupRoot+"/") {
			if err := os.Mkdir(s.target, 0o755); err != nil {
				return fmt.Errorf("creating a mount point: %w", err)
			}
		}
		if err := syscall.Mount(s.source, s.target, s.kind, s.flags, s.data); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", s.source, s.target, err)
		}
	}
	for _, line := range []string{"link set lo up", "addr add " + address + "/32 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}
