package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// A region of its own beside the main's, on the same node: a namespace that a kubeconfig
// leads to. The kubelet knows one API server, so a remote with pods has to be there.
const phx = "phx"

// soon is how long anything may take that no promise sets a time for, on a slow machine.
const soon = 3 * time.Minute

// overlay is an operator's kustomization over the chart, as docs/install.md has it.
func overlay(namespace, more string, components ...string) string {
	text := "resources: [base]\ncomponents:\n"
	for _, component := range components {
		text += "  - ../fernetcast/manifests/" + component + "\n"
	}
	return text + `images:
  - name: ghcr.io/fernetcast/fernetcast
    newName: ` + node.FernetcastImage + `
    newTag: ` + version + `
namespace: ` + namespace + "\n" + more
}

// install puts Keystone with fernetcast into both regions on the node, and beside each
// of them what it is compared with: in the main one that has its keys from the kubelet
// alone, in phx that and one with a loop like Genestack's.
func install(ctx context.Context) error {
	if err := os.CopyFS(filepath.Join(workstation.dir, "fernetcast", "manifests"), os.DirFS(repository+"/manifests")); err != nil {
		return err
	}
	for region, text := range map[string]string{
		mainRegion: overlay(namespace, "replicas:\n  - {name: keystone-api, count: 2}\n", "sidecar", "files"),
		phx: overlay(phx, `patches:
  - target: {kind: Deployment, name: keystone-api}
    patch: |
      - {op: add, path: /spec/template/spec/initContainers/0/args/-, value: --namespace=phx}
  - target: {kind: RoleBinding, name: fernetcast-files}
    patch: |
      - {op: replace, path: /subjects/0/namespace, value: phx}
`, "files"),
	} {
		dir := filepath.Join(workstation.dir, "keystone-"+region)
		if err := chart(dir); err != nil {
			return err
		}
		if err := testenv.WriteFile(dir, "kustomization.yaml", []byte(text)); err != nil {
			return err
		}
		if _, err := shell(ctx, "kubectl --context sjc apply --kustomize "+dir); err != nil {
			return err
		}
	}
	for _, deployment := range []*appsv1.Deployment{plain(namespace), plain(phx), looping(phx)} {
		client, err := shared.node.Client(mainRegion)
		if err != nil {
			return err
		}
		if _, err := client.AppsV1().Deployments(deployment.Namespace).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("making Deployment %s: %w", deployment.Name, err)
		}
	}
	return nil
}

// plain is a Keystone as the chart has it, without fernetcast.
func plain(namespace string) *appsv1.Deployment {
	deployment, err := chartDeployment()
	if err != nil {
		panic(err) // the chart was built before
	}
	named(deployment, namespace, "keystone-kubelet")
	return deployment
}

func named(d *appsv1.Deployment, namespace, name string) {
	labels := map[string]string{"app": name}
	d.Name, d.Namespace = name, namespace
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = labels
}

// loop copies as Genestack's does: each file by way of a temporary one in the
// repository, root's until the end of the round; then what is gone is removed.
const loop = `while :; do
	for file in /source/*; do
		name=${file##*/}
		cp -L "$file" "/keys/.tmp.$name"; chmod 400 "/keys/.tmp.$name"; mv -f "/keys/.tmp.$name" "/keys/$name"
	done
	for file in /keys/*; do [ -f "/source/${file##*/}" ] || rm -f "$file"; done
	chown -R 42424:42424 /keys; chmod 700 /keys
	[ -n "$ONCE" ] && exit
	sleep 30
done`

// looping is a Keystone that has its keys from such a loop.
func looping(namespace string) *appsv1.Deployment {
	deployment := plain(namespace)
	named(deployment, namespace, "keystone-loop")
	pod := &deployment.Spec.Template.Spec
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "copied", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	copier := corev1.Container{
		Name: "loop", Image: node.KeystoneImage, Command: []string{"sh", "-ec", loop},
		SecurityContext: &corev1.SecurityContext{RunAsUser: ptr.To(int64(0))},
		VolumeMounts:    []corev1.VolumeMount{{Name: "copied", MountPath: "/keys"}, {Name: "keystone-fernet-keys", MountPath: "/source", ReadOnly: true}},
	}
	first := *copier.DeepCopy()
	first.Name, first.Env = "first", []corev1.EnvVar{{Name: "ONCE", Value: "yes"}}
	pod.InitContainers = append(pod.InitContainers, first)
	for i, mount := range pod.Containers[0].VolumeMounts {
		if mount.MountPath == "/etc/keystone/fernet-keys/" {
			pod.Containers[0].VolumeMounts[i].Name = "copied"
		}
	}
	pod.Containers = append(pod.Containers, copier)
	return deployment
}

// letIn gives the main a kubeconfig of phx, as an operator makes one by hand: join goes to
// the namespace of the main's own Secret.
func letIn(ctx context.Context) error {
	_, err := shell(ctx, `
kubectl --context sjc --namespace phx create serviceaccount fernetcast
kubectl --context sjc --namespace phx create role fernetcast --verb=get,list,watch,create,update,patch --resource=secrets --resource-name=keystone-fernet-keys
kubectl --context sjc --namespace phx create rolebinding fernetcast --role=fernetcast --serviceaccount=phx:fernetcast
kubectl --context sjc --namespace phx create token fernetcast --duration=24h >`+workstation.dir+`/token`)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(workstation.dir, "token"))
	if err != nil {
		return err
	}
	kubeconfig, err := shared.node.TokenKubeconfig(mainRegion, phx, strings.TrimSpace(string(token)))
	if err != nil {
		return err
	}
	client, err := shared.node.Client(mainRegion)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "fernetcast-clusters"}, Data: map[string][]byte{phx + ".yaml": kubeconfig},
	}, metav1.CreateOptions{})
	return err
}

// door is one Keystone's: a pod's address.
type door struct{ region, way, pod, url string }

func (d door) String() string { return d.region + " " + d.way }

// ways are the Deployments, by how their keys come to them.
var ways = map[string]string{"keystone-api": "files", "keystone-kubelet": "kubelet", "keystone-loop": "loop"}

// doors waits until every Keystone is Ready, and returns one door for each pod.
func doors(ctx context.Context) (open []door, err error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	client, err := shared.node.Client(mainRegion)
	if err != nil {
		return nil, err
	}
	err = testenv.Until(ctx, 200*time.Millisecond, func(ctx context.Context) error {
		open = nil
		for region, ns := range map[string]string{mainRegion: namespace, phx: phx} {
			pods, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			deployments, err := client.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, d := range deployments.Items {
				if d.Status.ReadyReplicas != *d.Spec.Replicas || d.Status.UpdatedReplicas != *d.Spec.Replicas || d.Status.Replicas != *d.Spec.Replicas {
					return fmt.Errorf("%s in %s has %d of %d pods Ready: %s", d.Name, ns, d.Status.ReadyReplicas, *d.Spec.Replicas, trouble(pods.Items))
				}
			}
			for _, pod := range pods.Items {
				if owner, _, ok := strings.Cut(strings.TrimPrefix(pod.Name, "keystone-"), "-"); ok && pod.DeletionTimestamp == nil && isReady(&pod) {
					open = append(open, door{region, ways["keystone-"+owner], pod.Name, "http://" + pod.Status.PodIP + ":5000"})
				}
			}
		}
		return nil
	})
	return open, err
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// trouble is what the containers say that are not Ready.
func trouble(pods []corev1.Pod) string {
	var lines []string
	for _, pod := range pods {
		for _, c := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
			if !c.Ready {
				state, _ := json.Marshal(c.State)
				lines = append(lines, pod.Name+" "+c.Name+": "+string(state))
			}
		}
	}
	return strings.Join(lines, "\n")
}
