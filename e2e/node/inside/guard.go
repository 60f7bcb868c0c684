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

// guard starts the node, prints the PID of the node's first process, and waits for the end of
// stdin. Stdin ends when the test ends, for whatever reason. Then guard kills the node and removes
// the node's cgroups and directory. Mounts and interfaces disappear with their namespaces.
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
	// When the first process in a PID namespace ends, the kernel kills all others. An error only
	// means that the process was killed or had already ended.
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return nil
}
