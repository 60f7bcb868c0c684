//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// guard starts the node, prints the pid of its first process, and waits until its own
// stdin ends, which it does with the test, however that one ends. Then it kills the node
// and removes its cgroups and its directory; mounts and interfaces go with the namespaces.
func guard(dir string) (err error) {
	groups, err := joinCgroups(filepath.Base(dir))
	defer func() { err = errors.Join(err, groups.remove(), os.RemoveAll(dir)) }()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "node.log"))
	if err != nil {
		return fmt.Errorf("making the node's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "init", dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting a process in namespaces of its own: %w", err)
	}
	fmt.Println(cmd.Process.Pid)
	_, _ = io.Copy(io.Discard, os.Stdin)
	// The first process of a pid namespace takes all others with it. What these two
	// report is that it was killed, or had ended before.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil
}
