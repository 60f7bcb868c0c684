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

// dieWithParent also takes the child out of the terminal's process group:
// Ctrl-C is for the parent, which stops its children in order.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// isStopped is nil once the kernel shows pid as stopped.
func isStopped(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return fmt.Errorf("reading the state of pid %d: %w", pid, err)
	}
	// pid (comm) state …: comm may hold anything, its end is the last parenthesis.
	rest := bytes.TrimSpace(stat[bytes.LastIndexByte(stat, ')')+1:])
	if !bytes.HasPrefix(rest, []byte("T")) {
		return fmt.Errorf("pid %d is not stopped: state %.1s", pid, rest)
	}
	return nil
}

// Memory reads the process's resident set, now and at its highest, in bytes.
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
		return 0, 0, fmt.Errorf("reading the memory of pid %d: no VmRSS: it has ended", p.Pid())
	}
	return now, peak, nil
}

// tick is the unit of processor time in /proc: USER_HZ, the same on every Linux.
const tick = 10 * time.Millisecond

// CPU reads the processor time that the process has used so far.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		return 0, fmt.Errorf("reading the processor time of pid %d: %w", p.Pid(), err)
	}
	// utime and stime are the 14th and 15th field; comm, the 2nd, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading the processor time of pid %d: %d fields", p.Pid(), len(fields))
	}
	var used time.Duration
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the processor time of pid %d: %w", p.Pid(), err)
		}
		used += time.Duration(ticks) * tick
	}
	return used, nil
}

// Files is how many file descriptors the process has open.
func (p *Process) Files() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
	if err != nil {
		return 0, fmt.Errorf("counting the open files of pid %d: %w", p.Pid(), err)
	}
	return len(entries), nil
}
