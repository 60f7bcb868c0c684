//go:build unix && !linux

package testenv

import (
	"errors"
	"syscall"
	"time"
)

// dieWithParent leaves the child in the terminal's process group: without a
// parent-death signal, Ctrl-C has to reach it directly.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

// isStopped cannot tell here; SIGSTOP takes effect within moments.
func isStopped(int) error { return nil }

// Memory is known on Linux only.
func (p *Process) Memory() (now, peak int64, err error) {
	return 0, 0, errors.New("reading a process's memory: only on Linux")
}

// CPU is known on Linux only.
func (p *Process) CPU() (time.Duration, error) {
	return 0, errors.New("reading a process's processor time: only on Linux")
}

// Files is known on Linux only.
func (p *Process) Files() (int, error) {
	return 0, errors.New("counting a process's open files: only on Linux")
}
