package node_test

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	namespace  = "openstack"
	repository = "../.."
	// version is what make image is told, and so the image's tag.
	version = "v0.0.0-node"
)

//go:embed testdata/keystone.conf
var keystoneConf string

// workstation is where an operator's commands run: in the node's network, with kubectl,
// fernetcast and a kubeconfig with a context for each region.
var workstation struct {
	dir string
	env []string
}

// furnish gives the node its images, and each cluster what it has before fernetcast comes.
func furnish(ctx context.Context) error {
	n, env := shared.node, shared.env
	push := exec.CommandContext(ctx, "make", "image", "VERSION="+version, "PUSH="+n.Registry()+"/fernetcast")
	push.Dir = repository
	if out, err := push.CombinedOutput(); err != nil {
		return fmt.Errorf("make image: %w\n%s", err, out)
	}
	if err := n.PushKeystone(ctx, env, os.Stderr); err != nil {
		return err
	}
	if err := equip(ctx); err != nil {
		return err
	}
	for _, region := range append([]string{mainRegion}, remotes...) {
		client, err := n.Client(region)
		if err != nil {
			return err
		}
		if err := makeNamespace(ctx, client, namespace, "restricted"); err != nil {
			return err
		}
		if region == mainRegion { // the loop is root's
			if err := makeNamespace(ctx, client, phx, "privileged"); err != nil {
				return err
			}
		}
	}
	if err := letIn(ctx); err != nil { // before the pods, which else would see it after the kubelet's swap
		return err
	}
	return install(ctx)
}

// equip makes the workstation.
func equip(ctx context.Context) error {
	var err error
	if workstation.dir, err = shared.env.Directory("workstation-"); err != nil {
		return err
	}
	program, err := shared.env.Program(ctx)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Join(workstation.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for name, target := range map[string]string{"kubectl": self, "fernetcast": program.Path} {
		if err := os.Symlink(target, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	kubeconfig, err := shared.node.Kubeconfig()
	if err != nil {
		return err
	}
	workstation.env = []string{"HOME=" + workstation.dir, "KUBECONFIG=" + kubeconfig, "PATH=" + bin + ":" + os.Getenv("PATH")}
	return nil
}

// shell runs a script in the repository, as an operator would line by line: the first
// command that fails ends it.
func shell(ctx context.Context, script string) (string, error) {
	sh := shared.node.Command(ctx, "/bin/sh", "-eu")
	sh.Dir, sh.Env, sh.Stdin = repository, workstation.env, strings.NewReader(script)
	var out bytes.Buffer
	sh.Stdout, sh.Stderr = &out, &out
	if err := sh.Run(); err != nil {
		return out.String(), fmt.Errorf("%q: %w\n%s", script, err, out.String())
	}
	return out.String(), nil
}

// makeNamespace makes a namespace under a level of Pod Security, with what openstack-helm
// has made there: keys, and Keystone's configuration.
func makeNamespace(ctx context.Context, client kubernetes.Interface, name, level string) error {
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": level,
	}}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("making namespace %s: %w", name, err)
	}
	for secret, keys := range map[string]testenv.Repository{
		testenv.SecretName: shared.env.Keys.NewRepository(8, 7), "keystone-credential-keys": shared.env.Keys.NewRepository(1, 2),
	} {
		_, err := client.CoreV1().Secrets(name).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: keys}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("making Secret %s: %w", secret, err)
		}
	}
	_, err = client.CoreV1().ConfigMaps(name).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-etc"}, Data: map[string]string{"keystone.conf": keystoneConf},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("making Keystone's configuration: %w", err)
	}
	return nil
}

// chart writes what openstack-helm renders, with real images and commands in place of the
// stubs, into the directory base of dir.
func chart(dir string) error {
	var all []string
	err := rendered(func(text []byte) { all = append(all, string(text)) })
	if err != nil {
		return err
	}
	base := filepath.Join(dir, "base")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	if err := testenv.WriteFile(base, "all.yaml", []byte(strings.Join(all, "---\n"))); err != nil {
		return err
	}
	return testenv.WriteFile(base, "kustomization.yaml", []byte("resources: [all.yaml]\n"))
}

// chartDeployment is the Deployment that the chart has.
func chartDeployment() (*appsv1.Deployment, error) {
	deployment := &appsv1.Deployment{}
	err := rendered(func(text []byte) {
		if strings.Contains(string(text), "\nkind: Deployment\n") {
			_ = yaml.Unmarshal(text, deployment)
		}
	})
	return deployment, err
}

// rendered gives each object of the chart.
func rendered(each func(text []byte)) error {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../manifests/testdata/keystone")
	if err != nil {
		return fmt.Errorf("building Keystone's manifests: %w", err)
	}
	for _, resource := range resources.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return err
		}
		if resource.GetKind() == "Deployment" {
			var deployment appsv1.Deployment
			if err := yaml.UnmarshalStrict(text, &deployment); err != nil {
				return err
			}
			real(&deployment)
			if text, err = yaml.Marshal(deployment); err != nil {
				return err
			}
		}
		each(text)
	}
	return nil
}

// real has a Deployment of the chart's shape run a real Keystone.
func real(deployment *appsv1.Deployment) {
	pod := &deployment.Spec.Template.Spec
	pod.NodeSelector, pod.Affinity = nil, nil
	tmp := corev1.VolumeMount{Name: "pod-tmp", MountPath: "/tmp"}
	init := &pod.InitContainers[0]
	init.Image, init.VolumeMounts, init.Env = node.KeystoneImage, []corev1.VolumeMount{tmp}, nil
	// cp keeps the mode of a file that nobody may write.
	init.Command = []string{"sh", "-ec", "cat " + node.DatabasePath + " >/tmp/keystone.db"}
	keystone := &pod.Containers[0]
	keystone.Image = node.KeystoneImage
	keystone.Command = []string{
		"uwsgi_python3", "--http-socket", ":5000", "--wsgi-file", "/usr/bin/keystone-wsgi-public",
		"--post-buffering", "65536", "--need-app", "--disable-logging", "--die-on-term", "--listen", "100",
	}
	keystone.Env = []corev1.EnvVar{{Name: "OS_KEYSTONE_CONFIG_FILES", Value: "/etc/ks/keystone.conf"}}
	keystone.VolumeMounts = append(keystone.VolumeMounts, corev1.VolumeMount{Name: "keystone-etc", MountPath: "/etc/ks"},
		corev1.VolumeMount{Name: "etckeystone", MountPath: "/etc/keystone"}) // as the chart: the image's own is closed to other users
	keystone.ReadinessProbe.InitialDelaySeconds, keystone.ReadinessProbe.PeriodSeconds = 1, 1
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "etckeystone", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, corev1.Volume{Name: "keystone-etc", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "keystone-etc"}},
	}})
}
