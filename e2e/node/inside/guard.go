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

// guard starts the node, prints the PID of its first process, and waits until stdin ends, which
// happens when the test ends for any reason. Then it kills the node and removes its cgroups and
// directory. Mounts and interfaces disappear with their namespaces.
func guard(dir string) (err error) {
	groups, err := joinCgroups(filepath.Base(dir))
	defer func() { err = errors.Join(err, groups.remove(), os.RemoveAll(dir)) }()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "node.log"))
	if err != nil {
		return fmt.Errorf("creating the node's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "init", dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting a process in its own namespaces: %w", err)
	}
	fmt.Println(cmd.Process.Pid)
	_, _ = io.Copy(io.Discard, os.Stdin)
	// All processes in a PID namespace die with the first. Errors only mean that it was killed or
	// has already ended.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil
}
