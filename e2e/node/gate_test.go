package node_test

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

//go:embed testdata/fernet-manage.py
var fernetManage string

const rotationJob = "keystone-fernet-rotate"

// The chart's CronJob behind the gate, run by the real controller every minute: it waits
// while a region is cut off, says so, and goes on by itself.
func (s *stage) gate() {
	s.makeCronJob()
	rotated := func(than int) func(context.Context) error {
		return func(ctx context.Context) error {
			if now := testenv.Repository(s.secret(s.main, namespace).Data).Primary(); now <= than {
				return fmt.Errorf("primary %d: %s", now, s.gateSays(ctx))
			}
			return nil
		}
	}
	s.until(rotated(testenv.Repository(s.secret(s.main, namespace).Data).Primary()))
	s.must(shared.node.Freeze("dfw"))
	thawed := false
	defer func() {
		if !thawed {
			s.must(shared.node.Thaw("dfw"))
		}
	}()
	// What was on its way may still end: from then on nothing rotates.
	s.until(func(ctx context.Context) error {
		if said := s.gateSays(ctx); !strings.Contains(said, "dfw") || !strings.Contains(said, "Unreachable") {
			return fmt.Errorf("the gate says %q", said)
		}
		return nil
	})
	before := testenv.Repository(s.secret(s.main, namespace).Data)
	quiet := time.Now()
	for time.Since(quiet) < 70*time.Second { // the CronJob's next minute has come
		if now := testenv.Repository(s.secret(s.main, namespace).Data); !before.Equal(now) {
			s.Fatalf("the keys were rotated past a gate that is shut: primary %d, then %d", before.Primary(), now.Primary())
		}
		time.Sleep(time.Second)
	}
	s.must(shared.node.Thaw("dfw"))
	thawed = true
	s.until(rotated(before.Primary()))
	s.must(s.main.BatchV1().CronJobs(namespace).Delete(s.ctx, rotationJob, metav1.DeleteOptions{}))
	s.until(func(ctx context.Context) error {
		jobs, err := s.main.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(jobs.Items) > 0 {
			err = errors.New("jobs are left of the CronJob")
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
	s.until(func(context.Context) error { return s.allGood(open) })
}

// gateSays is what the gate of the last job has said.
func (s *stage) gateSays(ctx context.Context) string {
	out, err := shell(ctx, `for pod in $(kubectl --context sjc --namespace openstack get pods --selector batch.kubernetes.io/job-name --output name); do
	kubectl --context sjc --namespace openstack logs $pod --container fernetcast-wait --tail 8 || true
	kubectl --context sjc --namespace openstack logs $pod --container fernetcast-wait --tail 8 --previous || true
done 2>&1`)
	if err != nil {
		return err.Error()
	}
	return out
}

// makeCronJob makes the chart's CronJob with the gate, with a real image and script.
func (s *stage) makeCronJob() {
	s.Helper()
	_, err := s.main.CoreV1().ConfigMaps(namespace).Create(s.ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-bin"}, Data: map[string]string{"fernet-manage.py": fernetManage},
	}, metav1.CreateOptions{})
	s.must(err)
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../manifests/testdata/gate")
	s.must(err)
	var all []string
	for _, resource := range resources.Resources() {
		text, err := resource.AsYAML()
		s.must(err)
		if resource.GetKind() == "CronJob" {
			var job batchv1.CronJob
			s.must(yaml.UnmarshalStrict(text, &job))
			everyMinute(&job)
			text, err = yaml.Marshal(job)
			s.must(err)
		}
		all = append(all, string(text))
	}
	s.must(testenv.WriteFile(workstation.dir, "rotation.yaml", []byte(strings.Join(all, "---\n"))))
	s.sh("kubectl --context sjc --namespace openstack apply --filename " + filepath.Join(workstation.dir, "rotation.yaml"))
}

// everyMinute has the CronJob run what is real, as often as a CronJob can, with a gate
// that waits for no pod to see its keys.
func everyMinute(job *batchv1.CronJob) {
	job.Spec.Schedule = "* * * * *"
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
