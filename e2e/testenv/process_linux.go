package testenv

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dieWithParent returns attributes that make the kernel kill the child when its parent ends. They
// also put the child into its own process group, so that Ctrl-C reaches only the parent, which
// stops its children in order.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// isStopped returns nil if the process pid is stopped, according to /proc.
func isStopped(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return fmt.Errorf("reading the state of pid %d: %w", pid, err)
	}
	// The format is "pid (comm) state …". comm can contain any characters, so it ends at the last
	// parenthesis.
	rest := bytes.TrimSpace(stat[bytes.LastIndexByte(stat, ')')+1:])
	if !bytes.HasPrefix(rest, []byte("T")) {
		return fmt.Errorf("pid %d is not stopped: state %.1s", pid, rest)
	}
	return nil
}

// Memory returns the current and peak resident set size in bytes.
func (p *Process) Memory() (now, peak int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return 0, 0, fmt.Errorf("reading the memory of pid %d: %w", p.Pid(), err)
	}
	for line := range strings.Lines(string(status)) {
		field, value, _ := strings.Cut(line, ":")
		if field != "VmRSS" && field != "VmHWM" {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading %s of pid %d: %w", field, p.Pid(), err)
		}
		if field == "VmRSS" {
			now = kib << 10
		} else {
			peak = kib << 10
		}
	}
	if now == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("reading the memory of pid %d: no VmRSS: the process has ended", p.Pid())
	}
	return now, peak, nil
}

// tick is the unit of CPU time in /proc (USER_HZ), which is the same on all Linux systems.
const tick = 10 * time.Millisecond

// CPU returns the CPU time used so far.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of pid %d: %w", p.Pid(), err)
	}
	// utime and stime are fields 14 and 15. comm, field 2, can contain any characters.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading the CPU time of pid %d: %d fields", p.Pid(), len(fields))
	}
	var used time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of pid %d: %w", p.Pid(), err)
		}
		used += time.Duration(ticks) * tick
	}
	return used, nil
}

// Files returns the number of open file descriptors.
func (p *Process) Files() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
	if err != nil {
		return 0, fmt.Errorf("counting the open files of pid %d: %w", p.Pid(), err)
	}
	return len(entries), nil
}
