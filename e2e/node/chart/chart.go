// Package chart runs openstack-helm's Keystone on a node. It takes the objects that the chart
// creates, replaces their stub images with real ones, and adds fernetcast's components with a
// kustomization, as an operator would.
package chart

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/fernetcast/fernetcast/e2e/testenv/kustomize"
)

//go:embed keystone.conf
var keystoneConf string

// Chart holds the objects that openstack-helm's chart creates. Its methods are safe for concurrent
// use.
type Chart struct {
	repository string
	objects    [][]byte // each object in YAML
	deployment appsv1.Deployment
}

// Open renders the chart, with real images and commands in place of stubs.
func Open(env *testenv.Env) (*Chart, error) {
	c := &Chart{repository: env.Repository()}
	objects, err := kustomize.Build(filepath.Join(c.repository, "e2e/manifests/testdata/keystone"))
	if err != nil {
		return nil, fmt.Errorf("rendering Keystone's chart: %w", err)
	}
	for _, object := range objects.Resources() {
		text, err := object.AsYAML()
		if err != nil {
			return nil, err
		}
		if object.GetKind() == "Deployment" {
			if err := yaml.UnmarshalStrict(text, &c.deployment); err != nil {
				return nil, fmt.Errorf("reading the chart's Deployment: %w", err)
			}
			furnish(&c.deployment.Spec.Template.Spec)
			if text, err = yaml.Marshal(c.deployment); err != nil {
				return nil, err
			}
		}
		c.objects = append(c.objects, text)
	}
	return c, nil
}

// furnish makes a pod of the chart run a real Keystone.
func furnish(pod *corev1.PodSpec) {
	pod.NodeSelector, pod.Affinity = nil, nil
	init := &pod.InitContainers[0]
	init.Image, init.VolumeMounts, init.Env = node.KeystoneImage, []corev1.VolumeMount{{Name: "pod-tmp", MountPath: "/tmp"}}, nil
	// Use cat, because cp would keep the source's read-only mode.
	init.Command = []string{"sh", "-ec", "cat " + node.DatabasePath + " >/tmp/keystone.db"}
	keystone := &pod.Containers[0]
	keystone.Image = node.KeystoneImage
	keystone.Command = []string{
		"uwsgi_python3", "--http-socket", ":5000", "--wsgi-file", "/usr/bin/keystone-wsgi-public",
		"--post-buffering", "65536", "--need-app", "--disable-logging", "--die-on-term", "--listen", "100",
	}
	keystone.Env = []corev1.EnvVar{{Name: "OS_KEYSTONE_CONFIG_FILES", Value: "/etc/ks/keystone.conf"}}
	keystone.VolumeMounts = append(keystone.VolumeMounts, corev1.VolumeMount{Name: "keystone-etc", MountPath: "/etc/ks"},
		corev1.VolumeMount{Name: "etckeystone", MountPath: "/etc/keystone"}) // mount it as the chart does, because only root can read this directory in the image
	keystone.ReadinessProbe.InitialDelaySeconds, keystone.ReadinessProbe.PeriodSeconds = 1, 1
	pod.Volumes = append(pod.Volumes,
		corev1.Volume{Name: "etckeystone", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: "keystone-etc", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "keystone-etc"}},
		}})
}

// Write writes a kustomization of the chart into dir, as docs/install.md tells operators to. It
// includes fernetcast's components, its image from the node's registry, and the YAML in more.
func (c *Chart) Write(dir, namespace, version, more string, components ...string) error {
	if err := os.CopyFS(filepath.Join(dir, "fernetcast", "manifests"), os.DirFS(filepath.Join(c.repository, "manifests"))); err != nil {
		return fmt.Errorf("writing a kustomization: %w", err)
	}
	text := "resources: [base]\ncomponents:\n"
	for _, component := range components {
		text += "  - fernetcast/manifests/" + component + "\n"
	}
	text += `images:
  - name: ghcr.io/fernetcast/fernetcast
    newName: ` + node.FernetcastImage + `
    newTag: ` + version + `
namespace: ` + namespace + "\n" + more
	if err := os.Mkdir(filepath.Join(dir, "base"), 0o755); err != nil {
		return fmt.Errorf("writing a kustomization: %w", err)
	}
	for path, text := range map[string][]byte{
		"base/all.yaml":           bytes.Join(c.objects, []byte("---\n")),
		"base/kustomization.yaml": []byte("resources: [all.yaml]\n"),
		"kustomization.yaml":      []byte(text),
	} {
		if err := testenv.WriteFile(filepath.Join(dir, filepath.Dir(path)), filepath.Base(path), text); err != nil {
			return err
		}
	}
	return nil
}

// Plain returns a Deployment of the chart's Keystone without fernetcast. This Keystone gets its
// keys from the kubelet.
func (c *Chart) Plain(namespace, name string) *appsv1.Deployment {
	d := c.deployment.DeepCopy()
	labels := map[string]string{"app": name}
	d.Name, d.Namespace = name, namespace
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = labels
	return d
}

// MakeNamespace creates a namespace with a Pod Security level. It adds two objects that
// openstack-helm would create there: the Secret with the keys, and Keystone's configuration.
func MakeNamespace(ctx context.Context, client kubernetes.Interface, keys *testenv.Keys, name, level string) error {
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": level,
	}}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	for secret, repository := range map[string]testenv.Repository{
		testenv.SecretName: keys.NewRepository(8, 7), "keystone-credential-keys": keys.NewRepository(1, 2),
	} {
		_, err := client.CoreV1().Secrets(name).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: repository}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("creating Secret %s: %w", secret, err)
		}
	}
	_, err = client.CoreV1().ConfigMaps(name).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-etc"}, Data: map[string]string{"keystone.conf": keystoneConf},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating Keystone's configuration: %w", err)
	}
	return nil
}

// Images pushes the images for the pods to the node's registry: fernetcast's from make image, with
// the given version, and Keystone's, with the given database.
func Images(ctx context.Context, n *node.Node, env *testenv.Env, version, database string) error {
	push := exec.CommandContext(ctx, "make", "image", "VERSION="+version, "PUSH="+n.Registry()+"/fernetcast")
	push.Dir = env.Repository()
	if out, err := push.CombinedOutput(); err != nil {
		return fmt.Errorf("make image: %w\n%s", err, out)
	}
	return n.PushKeystone(ctx, database, os.Stderr)
}
