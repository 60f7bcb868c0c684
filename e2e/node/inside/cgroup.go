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

// hierarchies returns the path of this process's cgroup in each cgroup v1 hierarchy, by the names
// of the hierarchy's controllers.
func hierarchies() (map[string]string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("reading the cgroups: %w", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		// The format is number:controllers:path. For cgroup v2, the list of controllers is empty.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && parts[1] != "" {
			found[parts[1]] = parts[2]
		}
	}
	return found, nil
}

// cgroups holds the cgroup of one node in each hierarchy, and the cgroup where this process was
// before.
type cgroups []struct{ own, before string }

// joinCgroups creates a child cgroup in every hierarchy and moves this process there. All further
// cgroups of the node are created below these.
func joinCgroups(name string) (groups cgroups, err error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for controllers, path := range all {
		before := filepath.Join(cgroupRoot, strings.TrimPrefix(controllers, "name="), path)
		own := filepath.Join(before, name)
		if err := os.Mkdir(own, 0o755); err != nil {
			return groups, fmt.Errorf("creating a cgroup: %w", err)
		}
		groups = append(groups, struct{ own, before string }{own, before})
		if controllers == "cpuset" { // a new cpuset is empty, and accepts no processes until it is filled
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

// remove moves this process back to its previous cgroups and removes the node's cgroups with all
// their children.
func (c cgroups) remove() error {
	var failed error
	for _, group := range c {
		err := enter(group.before)
		for tries := 0; err == nil && tries < 100; tries++ {
			if err = removeTree(group.own); err == nil {
				break
			}
			// Killed processes can take a while to disappear, and until then, their cgroups can't
			// be removed.
			time.Sleep(50 * time.Millisecond)
			if tries < 99 {
				err = nil
			}
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// removeTree removes a cgroup and its children. In a cgroup file system, only directories can be
// removed.
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
