//go:build linux

package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/node/chart"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// These are containers of the Keystone pods in the main region.
const (
	keystoneContainer = "keystone-api"
	sidecar           = "fernetcast"
	filesSidecar      = "fernetcast-files"
)

// faults kills, starves, or stops each sidecar, and checks that the next rotation still reaches
// every region and every Keystone. It logs how long the pod is not Ready.
func (s *stage) faults() {
	signal := func(sig syscall.Signal) func(node.Process) error {
		return func(p node.Process) error { return syscall.Kill(p.Pid, sig) }
	}
	starve := func(p node.Process) error { return shared.node.Starve(s.Ctx, p) }
	stopped, killed := signal(syscall.SIGSTOP), signal(syscall.SIGKILL)
	for i, fault := range []struct {
		what, container string
		strike          func(node.Process) error
		ends, oom       bool // whether the container ends and the kubelet restarts it; whether it ends as OOMKilled
	}{
		{"the sidecar killed", sidecar, killed, true, false},
		{"files killed", filesSidecar, killed, true, false},
		{"the sidecar out of memory", sidecar, starve, true, true},
		{"files out of memory", filesSidecar, starve, true, true},
		{"the sidecar stopped", sidecar, stopped, false, false},
		{"files stopped", filesSidecar, stopped, false, false},
	} {
		open := s.doors()
		// The kubelet delays the second restart of a container, so alternate between the pods.
		pod := s.pods()[i/2%2]
		struck := s.process(&pod, fault.container)
		ready := s.watchReady()
		s.Must(fault.strike(struck))
		keys, sent := s.rotate(7)
		s.everywhere(keys)
		reached := time.Since(sent)
		if !fault.ends {
			s.Must(syscall.Kill(struck.Pid, syscall.SIGCONT))
		}
		s.filesHold(open, keys)
		s.doors()
		unready := ready()
		s.Logf("%s: the next rotation was in every region after %v; a pod was not Ready for %v", fault.what, reached.Round(time.Millisecond), unready)
		if again := s.process(&pod, fault.container); (again.Pid != struck.Pid) != fault.ends {
			s.Errorf("%s: process %d, then %d", fault.what, struck.Pid, again.Pid)
		}
		if fault.oom {
			s.Within(soon, func(ctx context.Context) error {
				now, err := s.main.CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				if end := status(now, fault.container).LastTerminationState.Terminated; end == nil || end.Reason != "OOMKilled" {
					return fmt.Errorf("%s: the pod's status is %+v", fault.what, end)
				}
				return nil
			})
		}
		if !fault.ends && unready > 0 {
			s.Errorf("%s: a pod was not Ready for %v", fault.what, unready)
		}
	}
	s.endInOrder()
}

// endInOrder deletes a pod. Keystone must end first, then the sidecar, and then `fernetcast files`,
// which Keystone needs until it has ended. Both containers of fernetcast must end on SIGTERM.
func (s *stage) endInOrder() {
	pod := s.pods()[0]
	order := []string{keystoneContainer, sidecar, filesSidecar}
	var pids []int
	for _, container := range order {
		pids = append(pids, s.process(&pod, container).Pid)
	}
	watching, err := s.main.CoreV1().Pods(namespace).Watch(s.Ctx, metav1.SingleObject(pod.ObjectMeta))
	s.Must(err)
	defer watching.Stop()
	s.Must(s.main.CoreV1().Pods(namespace).Delete(s.Ctx, pod.Name, metav1.DeleteOptions{}))
	ending, cancel := context.WithTimeout(s.Ctx, soon)
	defer cancel()
	var ended []string
	// Poll frequently, and check the last container first. So if two containers end between two
	// polls, the test fails instead of assuming the right order.
	s.Must(testenv.Until(ending, 2*time.Millisecond, func(context.Context) error {
		for i, pid := range slices.Backward(pids) {
			if !slices.Contains(ended, order[i]) && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				ended = append(ended, order[i])
			}
		}
		if len(ended) < len(order) {
			return fmt.Errorf("only %[2]q of %[1]q have ended", order, ended)
		}
		return nil
	}))
	if !slices.Equal(ended, order) {
		s.Errorf("the containers ended in the order %q, want %q", ended, order)
	}
	for event := range watching.ResultChan() {
		if last, ok := event.Object.(*corev1.Pod); ok {
			pod = *last
		}
		if event.Type == watch.Deleted {
			break
		}
	}
	for _, name := range order[1:] {
		if end := status(&pod, name).State.Terminated; end == nil || end.ExitCode != 0 {
			s.Errorf("container %s ended with %+v", name, end)
		}
	}
	s.doors()
}

// restartsLoseNothing checks that a rollout, a drain, and a node restart don't lose a rotation.
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
		{"a node that restarts", func() { s.Must(shared.node.Crash()) }, ""},
	} {
		disturbance.begin()
		keys, sent := s.rotate(7)
		if disturbance.repair != "" {
			s.sh(disturbance.repair)
		}
		s.everywhere(keys)
		s.Logf("%s: a concurrent rotation was in every region after %v", disturbance.what, time.Since(sent).Round(time.Millisecond))
		s.Within(soon, func(ctx context.Context) error {
			open, err := doors(ctx)
			if err != nil {
				return err
			}
			if err := s.filesHaveAll(ctx, open, keys); err != nil {
				return err
			}
			// Don't check the other Keystones, which must wait until the kubelet delivers the keys.
			return s.allGood(slices.DeleteFunc(open, func(d door) bool { return d.way != "files" }))
		})
	}
}

// everywhere waits until every region's Secret has these keys.
func (s *stage) everywhere(keys testenv.Repository) {
	s.Helper()
	for _, region := range remotes {
		client := s.client(region)
		s.Within(soon, func(ctx context.Context) error { return holds(ctx, client, namespace, keys) })
	}
	s.Within(soon, func(ctx context.Context) error { return holds(ctx, s.main, phx, keys) })
}

// watchReady watches the Keystone pods until stop is called. stop returns how long at least one of
// them was not Ready.
func (s *stage) watchReady() (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(s.Ctx)
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
					if !chart.IsReady(&list.Items[i]) {
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

// process waits until a container runs, and returns its first process.
func (s *stage) process(pod *corev1.Pod, container string) node.Process {
	s.Helper()
	var found node.Process
	s.Within(soon, func(ctx context.Context) error { // a restarting container temporarily has no process
		now, err := s.main.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		all, err := shared.node.Processes()
		if err != nil {
			return err
		}
		id := strings.TrimPrefix(status(now, container).ContainerID, "containerd://")
		i := slices.IndexFunc(all, func(p node.Process) bool { return p.Container != "" && p.Container == id })
		if i < 0 {
			return fmt.Errorf("container %s of %s has no process", container, pod.Name)
		}
		found = all[i]
		return nil
	})
	return found
}

// status returns the status of a container in a pod.
func status(pod *corev1.Pod, container string) corev1.ContainerStatus {
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	i := slices.IndexFunc(all, func(c corev1.ContainerStatus) bool { return c.Name == container })
	if i < 0 {
		return corev1.ContainerStatus{}
	}
	return all[i]
}
