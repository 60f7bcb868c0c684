//go:build linux

package node_test

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/node/chart"
)

// phx is another region on the main region's node: a separate namespace with its own kubeconfig. A
// kubelet has only one API server, so a remote with pods must use the main region's.
const phx = "phx"

// remotesSecret contains the kubeconfigs of the remotes.
const remotesSecret = "fernetcast-clusters"

// soon is the timeout for everything that has no promised time. It allows for a slow machine.
const soon = 3 * time.Minute

// install deploys Keystone with fernetcast in both regions on the node. For comparison, it also
// deploys a Keystone that gets its keys from the kubelet in both regions, and one with a loop like
// Genestack's in phx.
func install(ctx context.Context, openstack *chart.Chart) error {
	for _, region := range []struct {
		name, namespace, more string
		components            []string
	}{
		{mainRegion, namespace, "replicas:\n  - {name: keystone-api, count: 2}\n", []string{"sidecar", "files"}},
		{phx, phx, `patches:
  - target: {kind: Deployment, name: keystone-api}
    patch: |
      - {op: add, path: /spec/template/spec/initContainers/0/args/-, value: --namespace=phx}
  - target: {kind: RoleBinding, name: fernetcast-files}
    patch: |
      - {op: replace, path: /subjects/0/namespace, value: phx}
`, []string{"files"}},
	} {
		dir := filepath.Join(workstation.dir, "keystone-"+region.name)
		if err := openstack.Write(dir, region.namespace, version, region.more, region.components...); err != nil {
			return err
		}
		if _, err := shell(ctx, "kubectl --context sjc apply --kustomize "+dir); err != nil {
			return err
		}
	}
	client, err := shared.node.Client(mainRegion)
	if err != nil {
		return err
	}
	for _, deployment := range []*appsv1.Deployment{openstack.Plain(namespace, kubeletWay), openstack.Plain(phx, kubeletWay), looping(openstack)} {
		if _, err := client.AppsV1().Deployments(deployment.Namespace).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating Deployment %s: %w", deployment.Name, err)
		}
	}
	return nil
}

// loop is a shell script that copies key files like Genestack's loop. It writes each file to a
// temporary file in the repository, which root owns until the end of the round. Then it removes
// deleted files.
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

// looping returns a Deployment of a Keystone in phx that gets its keys from loop.
func looping(openstack *chart.Chart) *appsv1.Deployment {
	deployment := openstack.Plain(phx, loopWay)
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

// joinPhx adds a kubeconfig for phx to the main region.
func joinPhx(ctx context.Context) error {
	client, err := shared.node.Client(mainRegion)
	if err != nil {
		return err
	}
	if err := chart.LetIn(ctx, client, phx); err != nil {
		return err
	}
	kubeconfig, err := mint(ctx, client)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: remotesSecret}, Data: map[string][]byte{phx + ".yaml": kubeconfig},
	}, metav1.CreateOptions{})
	return err
}

// mint returns a kubeconfig for phx that contains a new token.
func mint(ctx context.Context, client kubernetes.Interface) ([]byte, error) {
	token, err := chart.Token(ctx, client, phx)
	if err != nil {
		return nil, err
	}
	return shared.node.TokenKubeconfig(mainRegion, phx, token)
}

// door is a Keystone pod, with the way in which it gets its keys.
type door struct {
	chart.Door
	way string
}

func (d door) String() string { return d.Region + " " + d.way }

// These are the names of the Deployments for comparison, and the way in which each Deployment gets
// its keys.
const kubeletWay, loopWay = "keystone-kubelet", "keystone-loop"

var ways = map[string]string{"keystone-api": "files", kubeletWay: "kubelet", loopWay: "loop"}

// doors waits until every Keystone is Ready, and returns a door for each pod.
func doors(ctx context.Context) (open []door, err error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	client, err := shared.node.Client(mainRegion)
	if err != nil {
		return nil, err
	}
	all, err := chart.Doors(ctx, client, map[string]string{mainRegion: namespace, phx: phx})
	for _, d := range all {
		open = append(open, door{d, ways[d.Deployment]})
	}
	return open, err
}
