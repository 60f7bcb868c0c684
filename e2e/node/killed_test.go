//go:build linux

package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// childVariable is the environment variable that makes this binary start a node, print the node's
// directory, and wait to be killed.
const childVariable = "FERNETCAST_NODE_CHILD"

func child() int {
	ctx := context.Background()
	env, err := testenv.Open(ctx, os.Stderr)
	if err == nil {
		var n *node.Node
		if n, err = node.Start(ctx, env, mainRegion); err == nil {
			fmt.Println(n.Dir())
			select {}
		}
	}
	fmt.Fprintln(os.Stderr, "node:", err)
	return 1
}

// TestLongNodeKilled checks that when a test is killed, no process, mount, cgroup, interface, or
// file of its node remains.
func TestLongNodeKilled(t *testing.T) {
	testenv.Long(t)
	self, err := os.Executable()
	testenv.Must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"=yes")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	testenv.Must(t, err)
	testenv.Must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err, cmd.Wait())
	}
	dir := strings.TrimSpace(line)
	if left := traces(dir); len(left) == 0 {
		t.Fatal("found no traces of a running node, so this test can't detect any")
	}
	testenv.Must(t, cmd.Process.Kill())
	_ = cmd.Wait() // the error only means that the process was killed
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	err = testenv.Until(ctx, 100*time.Millisecond, func(context.Context) error {
		if left := traces(dir); len(left) > 0 {
			return errors.New(strings.Join(left, "\n"))
		}
		return nil
	})
	if err != nil {
		t.Errorf("something of the node is left: %v", err)
	}
}

// traces lists everything that belongs to a node on this machine: the node's directory, processes
// whose arguments contain the directory, and cgroups, mounts, and interfaces with its name.
func traces(dir string) (found []string) {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		found = append(found, dir)
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range processes {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), dir) {
			found = append(found, path+": "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == filepath.Base(dir) {
			found = append(found, path)
		}
		return nil
	})
	for _, file := range []string{"/proc/self/mounts", "/proc/net/dev"} {
		text, err := os.ReadFile(file)
		if err == nil && (strings.Contains(string(text), dir) || strings.Contains(string(text), "cni0")) {
			found = append(found, file)
		}
	}
	return found
}
