package node_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// What ends a sidecar is no rotation's end: the next one reaches every region and every
// Keystone. How long the pod is not Ready meanwhile is told.
func (s *stage) faults() {
	for _, fault := range []struct {
		what, argument string
		signal         syscall.Signal
	}{
		{"the sidecar killed", "run", syscall.SIGKILL},
		{"files killed", "files", syscall.SIGKILL},
		{"the sidecar stopped", "run", syscall.SIGSTOP},
		{"files stopped", "files", syscall.SIGSTOP},
	} {
		open := s.doors()
		struck := processes(shared.node.Pid(), fault.argument)
		if len(struck) == 0 {
			s.Fatalf("no process of `fernetcast %s` was found", fault.argument)
		}
		ready := s.watchReady()
		pid := struck[0]
		s.must(syscall.Kill(pid, fault.signal))
		keys, sent := s.rotate(7)
		s.everywhere(keys)
		reached := time.Since(sent)
		if fault.signal == syscall.SIGSTOP {
			s.must(syscall.Kill(pid, syscall.SIGCONT))
		}
		s.filesHold(open, keys)
		s.doors()
		unready := ready()
		s.Logf("%s: the next rotation was in every region after %v; a pod was not Ready for %v", fault.what, reached.Round(time.Millisecond), unready)
		if fault.signal == syscall.SIGSTOP && unready > 0 {
			s.Errorf("%s: a pod was not Ready for %v", fault.what, unready)
		}
	}
}

// A rollout, a drain and a node that restarts lose no rotation.
func (s *stage) restartsLoseNothing() {
	for _, disturbance := range []struct {
		what   string
		begin  func()
		repair string
	}{
		{"a rollout", func() { s.sh("kubectl --context sjc --namespace openstack rollout restart deployment/keystone-api") }, ""},
		{"a drain", func() {
			s.sh("kubectl --context sjc drain node1 --pod-selector application=keystone --delete-emptydir-data --grace-period 10 --timeout 2m")
		}, "kubectl --context sjc uncordon node1"},
		{"a node that restarts", func() { s.must(shared.node.Crash()) }, ""},
	} {
		disturbance.begin()
		keys, sent := s.rotate(7)
		if disturbance.repair != "" {
			s.sh(disturbance.repair)
		}
		s.everywhere(keys)
		s.Logf("%s: a rotation meanwhile was in every region after %v", disturbance.what, time.Since(sent).Round(time.Millisecond))
		s.until(func(ctx context.Context) error {
			open, err := doors(ctx)
			if err != nil {
				return err
			}
			if err := s.filesHaveAll(ctx, open, keys); err != nil {
				return err
			}
			return s.allGood(open)
		})
	}
}

// everywhere waits until every region's Secret has the keys.
func (s *stage) everywhere(keys testenv.Repository) {
	s.Helper()
	for _, region := range remotes {
		client := s.client(region)
		s.until(func(ctx context.Context) error { return holds(ctx, client, namespace, keys) })
	}
	s.until(func(ctx context.Context) error { return holds(ctx, s.main, phx, keys) })
}

// watchReady watches Keystone's pods, and returns how long any of them was not Ready.
func (s *stage) watchReady() (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(s.ctx)
	unready := make(chan time.Duration, 1)
	go func() {
		const often = 20 * time.Millisecond
		var sum time.Duration
		last := time.Now()
		for ctx.Err() == nil {
			list, err := s.main.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "application=keystone"})
			now := time.Now()
			if err == nil {
				for i := range list.Items {
					if !isReady(&list.Items[i]) {
						sum += now.Sub(last)
						break
					}
				}
			}
			last = now
			time.Sleep(often)
		}
		unready <- sum
	}()
	return func() time.Duration { cancel(); return (<-unready).Round(10 * time.Millisecond) }
}

// processes are those of `fernetcast COMMAND` on the node, in the main's pods, by their
// pids on this machine.
func processes(nodePid int, command string) (pids []int) {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", nodePid))
	if err != nil {
		return nil
	}
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range entries {
		text, err := os.ReadFile(path)
		args := bytes.Split(text, []byte{0})
		if err != nil || len(args) < 2 || string(args[0]) != "/usr/local/bin/fernetcast" || string(args[1]) != command || bytes.Contains(text, []byte("--namespace=phx")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// A container has a pid namespace of its own, below the node's.
		if own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && own != ns && own != "" {
			pids = append(pids, pid)
		}
	}
	return pids
}
