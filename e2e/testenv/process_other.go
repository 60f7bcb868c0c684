//go:build unix && !linux

package testenv

import (
	"errors"
	"syscall"
	"time"
)

// dieWithParent leaves the child in the terminal's process group. Without a parent-death signal,
// Ctrl-C must reach it directly.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// isStopped can't check here. SIGSTOP takes effect almost immediately.
func isStopped(int) error { return nil }

// Memory works only on Linux.
func (p *Process) Memory() (now, peak int64, err error) {
	return 0, 0, errors.New("reading a process's memory: only on Linux")
}

// CPU works only on Linux.
func (p *Process) CPU() (time.Duration, error) {
	return 0, errors.New("reading a process's CPU time: only on Linux")
}

// Files works only on Linux.
func (p *Process) Files() (int, error) {
	return 0, errors.New("counting a process's open files: only on Linux")
}
