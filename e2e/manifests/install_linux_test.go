package manifests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// workstation is an operator's shell with kubectl and fernetcast. Its kubeconfig has a context with
// the name of each region.
type workstation struct {
	env []string
	tmp string
}

func newWorkstation(t *testing.T, fernetcast string, regions map[string]*testenv.Cluster) workstation {
	t.Helper()
	home, bin, tmp := t.TempDir(), t.TempDir(), t.TempDir()
	self, err := os.Executable()
	testenv.Must(t, err)
	for name, program := range map[string]string{"kubectl": self, "fernetcast": fernetcast} {
		testenv.Must(t, os.Symlink(program, filepath.Join(bin, name)))
	}
	contexts := clientcmdapi.NewConfig()
	for region, cluster := range regions {
		kubeconfig, err := cluster.AdminKubeconfig("")
		testenv.Must(t, err)
		config, err := clientcmd.Load(kubeconfig)
		testenv.Must(t, err)
		current := config.Contexts[config.CurrentContext]
		outside, err := cluster.Outside() // join rejects loopback addresses
		testenv.Must(t, err)
		contexts.Clusters[region] = config.Clusters[current.Cluster]
		contexts.Clusters[region].Server = outside.URL()
		contexts.Clusters[region].TLSServerName = "127.0.0.1"
		contexts.AuthInfos[region] = config.AuthInfos[current.AuthInfo]
		contexts.Contexts[region] = &clientcmdapi.Context{Cluster: region, AuthInfo: region}
	}
	kubeconfig := filepath.Join(home, "kubeconfig")
	testenv.Must(t, clientcmd.WriteToFile(*contexts, kubeconfig))
	return workstation{tmp: tmp, env: []string{
		"HOME=" + home, "TMPDIR=" + tmp, "KUBECONFIG=" + kubeconfig, "PATH=" + bin + ":" + os.Getenv("PATH"),
	}}
}

// shell runs a script in the repository's root directory, as if an operator typed each line. It
// stops at the first command that fails.
func (w workstation) shell(ctx context.Context, t *testing.T, script string) (output string) {
	t.Helper()
	sh := exec.CommandContext(ctx, "/bin/sh", "-eu")
	sh.Dir, sh.Env, sh.Stdin = repository, w.env, strings.NewReader(script)
	said, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", script, err, said)
	}
	return string(said)
}

// asking matches commands that ask for confirmation, for which they need a terminal.
var asking = regexp.MustCompile(`(?m)^(fernetcast .*\b(promote|join|leave|recover)\b.*)$`)

// scripts returns the commands in a page's shell blocks, in order. It includes only blocks under
// headings for which keep returns true.
func scripts(t *testing.T, page string, keep func(heading string) bool) (script string) {
	t.Helper()
	for _, step := range steps(t, page) {
		if step.language == "sh" && keep(step.heading) {
			script += asking.ReplaceAllString(step.text, "$1 --yes")
		}
	}
	if script == "" {
		t.Fatalf("%s has no commands", page)
	}
	return script
}

// TestInstallPage follows docs/install.md exactly, and then rotates the keys. One of the remotes
// already has its own keys.
func TestInstallPage(t *testing.T) {
	ctx := within(t, shortBuild)
	docker := readDockerfile(t)
	binary := shipped(ctx, t, docker)
	sjc, dfw, iad := shared.Cluster("sjc"), shared.Cluster("dfw"), shared.Cluster("iad")
	for _, region := range []*testenv.Cluster{sjc, dfw, iad} {
		makeNamespace(ctx, t, region)
		makeRotation(ctx, t, region)
		t.Cleanup(func() { forget(t, region) })
	}
	own := shared.Keys.NewRepository(3, 3) // dfw's keys; iad has none
	if _, err := dfw.Put(ctx, namespace, own); err != nil {
		t.Fatal(err)
	}
	if _, err := sjc.Put(ctx, namespace, shared.Keys.NewRepository(8, 7)); err != nil {
		t.Fatal(err)
	}

	operator := newWorkstation(t, binary, map[string]*testenv.Cluster{"sjc": sjc, "dfw": dfw, "iad": iad})
	apply(ctx, t, sjc, render(t, sidecarDir)...)
	sidecar := startSidecar(ctx, t, sjc, docker, binary)
	if err := dfw.Holds(ctx, namespace, own); err != nil {
		t.Errorf("before the promotion: %v", err)
	}
	said := operator.shell(ctx, t, scripts(t, installPage, func(string) bool { return true }))
	if left, err := os.ReadDir(operator.tmp); err != nil || len(left) > 0 {
		t.Errorf("files were left on the workstation: %v, %v", left, err)
	}
	rotation, err := sjc.Rotate(ctx, namespace, 7)
	testenv.Must(t, err)
	for _, remote := range []*testenv.Cluster{dfw, iad} {
		err := until(ctx, func(ctx context.Context) error {
			return remote.Holds(ctx, namespace, rotation.Keys)
		})
		if err != nil {
			t.Errorf("after a rotation: %v", err)
		}
		if !suspended(ctx, t, remote) {
			t.Errorf("%s still rotates on its own", remote.Name)
		}
	}
	if suspended(ctx, t, sjc) {
		t.Error("the main region's rotation is suspended")
	}
	sidecar.terminate(ctx, t)
	shared.Keys.NoLeaks(t, said, sidecar.stdout.String(), sidecar.stderr.String())
}

// startSidecar runs the sidecar container as in a Keystone pod. The Secret with the remotes'
// kubeconfigs is mounted, and its files are kept up to date.
func startSidecar(ctx context.Context, t *testing.T, cluster *testenv.Cluster, docker image, binary string) *contained {
	t.Helper()
	pod := template(t, sidecarDir).Spec
	c := container(t, &pod)
	mounted := volume(t, &pod).Secret
	r := newRoot(t, docker, binary, nil)
	cluster.Mount(t, namespace, mounted.SecretName, filepath.Join(r.dir, c.VolumeMounts[0].MountPath), os.FileMode(*mounted.DefaultMode))
	sidecar, _ := r.run(ctx, t, c, r.inCluster(ctx, t, cluster, pod.ServiceAccountName))
	return sidecar
}

// rotationJob is the name of openstack-helm's rotation CronJob.
const rotationJob = "keystone-fernet-rotate"

func makeRotation(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	job := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: rotationJob}}
	job.Spec.Schedule = "0 */12 * * *"
	job.Spec.JobTemplate.Spec.Template = template(t, "testdata/keystone")
	job.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	if _, err := cluster.Client().BatchV1().CronJobs(namespace).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// suspend suspends the rotation CronJob.
func suspend(ctx context.Context, t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	_, err := cluster.Client().BatchV1().CronJobs(namespace).Patch(ctx, rotationJob, types.MergePatchType, []byte(`{"spec":{"suspend":true}}`), metav1.PatchOptions{})
	testenv.Must(t, err)
}

// forget deletes the keys, the rotation CronJob, and the remotes' kubeconfigs, so that the next
// test starts without them.
func forget(t *testing.T, cluster *testenv.Cluster) {
	t.Helper()
	ctx := context.Background() // the test's own context has ended
	err := cluster.Client().CoreV1().Secrets(namespace).Delete(ctx, "fernetcast-clusters", metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	if err := cluster.Delete(ctx, namespace); err != nil {
		t.Error(err)
	}
	if err := cluster.Client().BatchV1().CronJobs(namespace).Delete(ctx, rotationJob, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func suspended(ctx context.Context, t *testing.T, cluster *testenv.Cluster) bool {
	t.Helper()
	job, err := cluster.Client().BatchV1().CronJobs(namespace).Get(ctx, rotationJob, metav1.GetOptions{})
	testenv.Must(t, err)
	return job.Spec.Suspend != nil && *job.Spec.Suspend
}
