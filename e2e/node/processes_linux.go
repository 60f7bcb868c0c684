package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Process is a process on the node.
type Process struct {
	Pid  int // in this machine's PID namespace, not the node's
	Args []string
	// Container is the ID of the process's container, or "" for the node's own processes.
	Container string
}

// Processes returns all processes on the node, including those in containers, by PID.
func (n *Node) Processes() ([]Process, error) {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.pid))
	if err != nil {
		return nil, fmt.Errorf("listing the node's processes: %w", err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("listing the node's processes: %w", err)
	}
	pods := "/" + filepath.Base(n.dir) + "/kubepods/"
	var found []Process
	for _, dir := range dirs {
		// The process may have ended since it was listed.
		namespace, gone := os.Readlink(filepath.Join(dir, "ns/pid"))
		text, goneToo := os.ReadFile(filepath.Join(dir, "cmdline"))
		groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if gone != nil || goneToo != nil || err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return nil, err
		}
		p := Process{Pid: pid, Args: strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")}
		if namespace != own {
			_, after, ok := strings.Cut(string(groups), pods)
			if !ok {
				continue
			}
			line, _, _ := strings.Cut(after, "\n")
			p.Container = filepath.Base(line)
		}
		found = append(found, p)
	}
	slices.SortFunc(found, func(a, b Process) int { return a.Pid - b.Pid })
	return found, nil
}
