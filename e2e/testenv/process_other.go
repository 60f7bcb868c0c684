//go:build unix && !linux

package testenv

import (
	"errors"
	"syscall"
	"time"
)

// dieWithParent returns attributes that leave the child in the terminal's process group. There is
// no parent-death signal on this system, so Ctrl-C must reach the child directly.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// isStopped always returns nil, because it can't check the process on this system. SIGSTOP takes
// effect almost immediately anyway.
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
