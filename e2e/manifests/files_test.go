package manifests

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

const filesName = "fernetcast-files"

// manifests/files adds one container and two volumes to a pod with the sidecar, and mounts other
// files as Keystone's keys. It changes nothing else.
func TestFilesChangeOneMountOfKeystone(t *testing.T) {
	before, after := template(t, sidecarDir).Spec, template(t, filesDir).Spec
	files := after.InitContainers[0]
	if files.Name != filesName {
		t.Fatalf("%s starts before the container that writes the keys", files.Name)
	}
	if files.RestartPolicy == nil || *files.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("the container is not a native sidecar: as an init container, it would never end")
	}
	if files.StartupProbe == nil || files.ReadinessProbe != nil || files.LivenessProbe != nil {
		t.Error("the container needs a startup probe, so that Keystone waits for its keys, and no other probe")
	}
	sidecar := container(t, &after)
	if files.Image != sidecar.Image {
		t.Errorf("the image is %s, but the sidecar's is %s", files.Image, sidecar.Image)
	}
	user := *sidecar.SecurityContext.DeepCopy()
	user.RunAsUser, user.RunAsGroup = files.SecurityContext.RunAsUser, files.SecurityContext.RunAsGroup
	if diff := cmp.Diff(user, *files.SecurityContext); diff != "" || *user.RunAsUser != *before.SecurityContext.RunAsUser {
		t.Errorf("the container is not as restricted as the sidecar, or does not run as Keystone's user (-want +got):\n%s", diff)
	}
	after.InitContainers = after.InitContainers[1:]
	var added []string
	after.Volumes = slices.DeleteFunc(after.Volumes, func(v corev1.Volume) bool {
		isNew := !slices.ContainsFunc(before.Volumes, func(old corev1.Volume) bool { return old.Name == v.Name })
		if isNew {
			added = append(added, v.Name)
		}
		return isNew
	})
	slices.Sort(added)
	if diff := cmp.Diff([]string{"fernetcast-keys", "fernetcast-secret"}, added); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	mount := func(c *corev1.Container) *corev1.VolumeMount {
		for i, m := range c.VolumeMounts {
			if m.MountPath == "/etc/keystone/fernet-keys/" {
				return &c.VolumeMounts[i]
			}
		}
		t.Fatal("Keystone mounts no keys")
		return nil
	}
	keys := mount(&after.Containers[0])
	if diff := cmp.Diff(corev1.VolumeMount{Name: "fernetcast-keys", MountPath: keys.MountPath, SubPath: "keys", ReadOnly: true}, *keys); diff != "" {
		t.Errorf("Keystone's keys (-want +got):\n%s", diff)
	}
	*keys = *mount(&before.Containers[0])
	// A patch moves the mount to the front, which has no effect.
	byPath := func(a, b corev1.VolumeMount) int { return strings.Compare(a.MountPath, b.MountPath) }
	slices.SortFunc(before.Containers[0].VolumeMounts, byPath)
	slices.SortFunc(after.Containers[0].VolumeMounts, byPath)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("other changes (-before +after):\n%s", diff)
	}
}
