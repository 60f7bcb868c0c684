package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestSidecarCannotHoldKeystoneBack(t *testing.T) {
	pod := template(t, sidecarDir).Spec
	c := container(t, &pod)
	if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("the container is not a native sidecar: as an init container, it would never end")
	}
	if pod.InitContainers[0].Name != "fernetcast" {
		t.Errorf("%s starts first: without a database, the keys would not be pushed", pod.InitContainers[0].Name)
	}
	if c.ReadinessProbe != nil || c.LivenessProbe != nil || c.StartupProbe != nil || c.Lifecycle != nil {
		t.Error("the sidecar has a probe or a hook, which can take Keystone out of service")
	}
	if !c.Resources.Limits.Cpu().IsZero() {
		t.Error("the sidecar has a CPU limit, which delays rotations")
	}
	if limit := c.Resources.Limits.Memory().Value(); limit < 96<<20 {
		t.Errorf("the memory limit of %d MiB is too close to what the program uses", limit>>20)
	}
	secret := volume(t, &pod).Secret
	if secret == nil || secret.SecretName != "fernetcast-clusters" || secret.Optional == nil || !*secret.Optional {
		t.Fatalf("a missing Secret fernetcast-clusters would keep Keystone from starting: %+v", secret)
	}
	if secret.DefaultMode == nil || *secret.DefaultMode != 0o444 {
		t.Error("uid 65532 cannot read the kubeconfigs, which root owns, because their mode is not 0444")
	}
}

func TestSidecarLeavesKeystoneAlone(t *testing.T) {
	plain, with := template(t, "testdata/keystone"), template(t, sidecarDir)
	with.Spec.InitContainers = slices.DeleteFunc(with.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "fernetcast" })
	with.Spec.Volumes = slices.DeleteFunc(with.Spec.Volumes, ours)
	if diff := cmp.Diff(plain, with); diff != "" {
		t.Errorf("changes other than a container and its volumes (-before +after):\n%s", diff)
	}
}

// Every way to deploy fernetcast must use the same container.
func TestOneContainerEverywhere(t *testing.T) {
	sidecar := template(t, sidecarDir).Spec
	want := *container(t, &sidecar)
	want.RestartPolicy = nil
	if matched, err := regexp.MatchString(`^ghcr\.io/fernetcast/fernetcast:v\d+\.\d+\.\d+$`, want.Image); err != nil || !matched {
		t.Errorf("image %q has no version tag", want.Image)
	}

	apart := template(t, deploymentDir).Spec
	got := *container(t, &apart)
	got.ReadinessProbe, got.LivenessProbe = nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifests/deployment differs from the sidecar (-sidecar +deployment):\n%s", diff)
	}
	if diff := cmp.Diff(volumes(&sidecar), volumes(&apart)); diff != "" {
		t.Errorf("manifests/deployment differs from the sidecar (-sidecar +deployment):\n%s", diff)
	}

	values := installValues(t)
	if diff := cmp.Diff([]corev1.Container{want}, values.Pod.ExtraContainers["keystone_api"]); diff != "" {
		t.Errorf("the values in docs/install.md differ from the sidecar (-sidecar +values):\n%s", diff)
	}
	if diff := cmp.Diff(volumes(&sidecar), values.Pod.Mounts.KeystoneAPI.KeystoneAPI.Volumes); diff != "" {
		t.Errorf("the values in docs/install.md differ from the sidecar (-sidecar +values):\n%s", diff)
	}
}

// values is the part of the keystone chart's values that docs/install.md sets.
type values struct {
	Pod struct {
		ExtraContainers map[string][]corev1.Container `json:"extraContainers"`
		Mounts          struct {
			KeystoneAPI struct {
				KeystoneAPI struct {
					Volumes []corev1.Volume `json:"volumes"`
				} `json:"keystone_api"`
			} `json:"keystone_api"`
		} `json:"mounts"`
	} `json:"pod"`
}

func installValues(t *testing.T) values {
	t.Helper()
	var v values
	if err := yaml.UnmarshalStrict([]byte(yamlBlock(t, "extraContainers:")), &v); err != nil {
		t.Fatalf("reading the values in docs/install.md: %v", err)
	}
	return v
}

// Genestack renders the chart into base/all.yaml and builds an overlay. The overlay in
// docs/install.md must give the same result as the test's own.
func TestGenestackOverlay(t *testing.T) {
	etc := t.TempDir()
	keystone := filepath.Join(etc, "genestack/kustomize/keystone")
	for dir, from := range map[string]string{
		filepath.Join(keystone, "base"):                      "testdata/keystone",
		filepath.Join(etc, "genestack/fernetcast/manifests"): manifestsDir,
	} {
		testenv.Must(t, os.CopyFS(dir, os.DirFS(from)))
	}
	overlay := filepath.Join(keystone, "overlay")
	testenv.Must(t, os.Mkdir(overlay, 0o755))
	testenv.Must(t, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(yamlBlock(t, "../base")), 0o644))
	if diff := cmp.Diff(render(t, sidecarDir), render(t, overlay)); diff != "" {
		t.Errorf("the overlay in docs/install.md gives a different result (-want +got):\n%s", diff)
	}
}
