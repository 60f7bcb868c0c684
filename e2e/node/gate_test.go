//go:build linux

package node_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/fernetcast/fernetcast/e2e/testenv/kustomize"
)

//go:embed testdata/fernet-manage.py
var fernetManage string

const rotationJob = "keystone-fernet-rotate"

// gate runs the chart's CronJob with the rotation gate every minute, with the real CronJob
// controller. While a region is unreachable, the gate waits, times out, and reports the reason, and
// the Job fails. When the region is reachable again, the next Job rotates without help.
func (s *stage) gate() {
	before := testenv.Repository(s.secret(s.main, namespace).Data)
	s.Must(shared.node.Freeze("dfw"))
	thaw := sync.OnceValue(func() error { return shared.node.Thaw("dfw") })
	defer func() { s.Must(thaw()) }()
	s.makeCronJob()
	s.Within(soon, func(ctx context.Context) error {
		said, err := s.gateSays(ctx)
		if err == nil && (!strings.Contains(said, "dfw") || !strings.Contains(said, "Unreachable")) {
			err = fmt.Errorf("unexpected message of the gate in the pod's status: %q", said)
		}
		return err
	})
	s.Within(soon, func(ctx context.Context) error {
		jobs, err := s.main.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		var said []string
		for _, job := range jobs.Items {
			for _, c := range job.Status.Conditions {
				said = append(said, fmt.Sprintf("%s: %s %s %s", job.Name, c.Type, c.Status, c.Message))
				if c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue {
					s.Logf("a gate that timed out: %s", said[len(said)-1])
					return nil
				}
			}
		}
		return fmt.Errorf("none of %d jobs failed: %q", len(jobs.Items), said)
	})
	if now := testenv.Repository(s.secret(s.main, namespace).Data); !before.Equal(now) {
		s.Errorf("the keys were rotated although the gate was closed: primary %d, then %d", before.Primary(), now.Primary())
	}
	s.Must(thaw())
	s.Within(soon, func(context.Context) error {
		if now := testenv.Repository(s.secret(s.main, namespace).Data).Primary(); now <= before.Primary() {
			return fmt.Errorf("no rotation since the region became reachable: primary %d", now)
		}
		return nil
	})
	s.Must(s.main.BatchV1().CronJobs(namespace).Delete(s.Ctx, rotationJob, metav1.DeleteOptions{}))
	s.Within(soon, func(ctx context.Context) error {
		jobs, err := s.main.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(jobs.Items) > 0 {
			err = errors.New("some of the CronJob's Jobs still exist")
		}
		return err
	})
	keys := testenv.Repository(s.secret(s.main, namespace).Data)
	for _, key := range keys {
		shared.env.Keys.Remember(string(key))
	}
	s.everywhere(keys)
	open := s.doors()
	s.filesHold(open, keys)
	s.Within(soon, func(context.Context) error { return s.allGood(open) })
}

// gateSays returns the gate's termination messages from the status of the rotation pods, where
// kubectl describe also finds them.
func (s *stage) gateSays(ctx context.Context) (string, error) {
	pods, err := s.main.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel})
	if err != nil {
		return "", err
	}
	var said []string
	for _, pod := range pods.Items {
		gate := status(&pod, "fernetcast-wait")
		for _, state := range []corev1.ContainerState{gate.State, gate.LastTerminationState} {
			if state.Terminated != nil {
				said = append(said, state.Terminated.Message)
			}
		}
	}
	return strings.Join(said, "\n"), nil
}

// makeCronJob creates the chart's CronJob with the rotation gate, a real image, and
// openstack-helm's real script.
func (s *stage) makeCronJob() {
	s.Helper()
	_, err := s.main.CoreV1().ConfigMaps(namespace).Create(s.Ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-bin"}, Data: map[string]string{"fernet-manage.py": fernetManage},
	}, metav1.CreateOptions{})
	s.Must(err)
	resources, err := kustomize.Build("../manifests/testdata/gate")
	s.Must(err)
	var all []string
	for _, resource := range resources.Resources() {
		text, err := resource.AsYAML()
		s.Must(err)
		if resource.GetKind() == "CronJob" {
			var job batchv1.CronJob
			s.Must(yaml.UnmarshalStrict(text, &job))
			everyMinute(&job)
			text, err = yaml.Marshal(job)
			s.Must(err)
		}
		all = append(all, string(text))
	}
	s.Must(testenv.WriteFile(workstation.dir, "rotation.yaml", []byte(strings.Join(all, "---\n"))))
	s.sh("kubectl --context sjc --namespace openstack apply --filename " + filepath.Join(workstation.dir, "rotation.yaml"))
}

// everyMinute sets real images and the shortest possible interval in the CronJob. It also shortens
// the gate's timeout, and the time that the gate allows for pods to get the keys.
func everyMinute(job *batchv1.CronJob) {
	job.Spec.Schedule = "* * * * *"
	job.Spec.JobTemplate.Spec.BackoffLimit = ptr.To(int32(1))
	pod := &job.Spec.JobTemplate.Spec.Template.Spec
	for i := range pod.InitContainers {
		c := &pod.InitContainers[i]
		if c.Name == "fernetcast-wait" {
			c.Image = node.FernetcastImage + ":" + version
			c.Args = append(c.Args, "--settle=1s", "--timeout=15s", "--request-timeout=3s")
		} else {
			c.Image, c.Command = node.KeystoneImage, []string{"true"}
		}
	}
	c := &pod.Containers[0]
	c.Image, c.Command[0] = node.KeystoneImage, "python3"
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "keystone-etc", MountPath: "/etc/ks"})
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "keystone-etc", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "keystone-etc"}},
	}})
}
