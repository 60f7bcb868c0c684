//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are those of cgroup v1, by the names of their controllers, with the path of
// this process in each.
func hierarchies() (map[string]string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("reading the cgroups: %w", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		// number:controllers:path; cgroup v2 has no controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && parts[1] != "" {
			found[parts[1]] = parts[2]
		}
	}
	return found, nil
}

// cgroups are those of one node, one in each hierarchy, and where this process was.
type cgroups []struct{ own, before string }

// joinCgroups makes a cgroup of a name below the present one in every hierarchy, and
// moves this process into it: whatever the node does with cgroups stays below.
func joinCgroups(name string) (groups cgroups, err error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for controllers, path := range all {
		before := filepath.Join(cgroupRoot, strings.TrimPrefix(controllers, "name="), path)
		own := filepath.Join(before, name)
		if err := os.Mkdir(own, 0o755); err != nil {
			return groups, fmt.Errorf("making a cgroup: %w", err)
		}
		groups = append(groups, struct{ own, before string }{own, before})
		if controllers == "cpuset" { // a new one is empty, and takes no process
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				value, err := os.ReadFile(filepath.Join(before, file))
				if err == nil {
					err = os.WriteFile(filepath.Join(own, file), value, 0o644)
				}
				if err != nil {
					return groups, fmt.Errorf("filling a cgroup: %w", err)
				}
			}
		}
		if err := enter(own); err != nil {
			return groups, err
		}
	}
	return groups, nil
}

func enter(group string) error {
	err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644)
	if err != nil {
		return fmt.Errorf("entering a cgroup: %w", err)
	}
	return nil
}

// remove goes back to where the process was, and removes the cgroups with all that the
// node has made below them.
func (c cgroups) remove() error {
	var failed error
	for _, group := range c {
		err := enter(group.before)
		for tries := 0; err == nil && tries < 100; tries++ {
			if err = removeTree(group.own); err == nil {
				break
			}
			// The kernel takes its time with processes that were killed.
			time.Sleep(50 * time.Millisecond)
			if tries < 99 {
				err = nil
			}
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// removeTree removes a cgroup and those below it: only directories can be removed there.
func removeTree(group string) error {
	var dirs []string
	err := filepath.WalkDir(group, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	return nil
}
