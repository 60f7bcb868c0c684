package node_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

func TestInstall(t *testing.T) {
	ctx := context.Background()
	dir := workstation.dir + "/keystone"
	if err := chart(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(workstation.dir+"/fernetcast-checkout/manifests", os.DirFS(repository+"/manifests")); err != nil {
		t.Fatal(err)
	}
	overlay := `resources: [base]
components:
  - ../fernetcast-checkout/manifests/sidecar
  - ../fernetcast-checkout/manifests/files
images:
  - name: ghcr.io/fernetcast/fernetcast
    newName: 10.0.0.1:5000/fernetcast
    newTag: ` + version + `
replicas:
  - {name: keystone-api, count: 2}
namespace: openstack
`
	if err := testenv.WriteFile(dir, "kustomization.yaml", []byte(overlay)); err != nil {
		t.Fatal(err)
	}
	out, err := shell(ctx, "kubectl --context sjc apply -k "+filepath.Clean(dir))
	t.Log(out, err)
	client, _ := shared.node.Client("sjc")
	began := time.Now()
	c, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	err = testenv.Until(c, 500*time.Millisecond, func(ctx context.Context) error {
		pods, err := client.CoreV1().Pods("openstack").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		state := ""
		for _, p := range pods.Items {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
					ready++
				}
			}
			state += p.Name
		}
		if ready < 2 {
			return fmt.Errorf("%d ready\n%s", ready, state)
		}
		return nil
	})
	t.Log(time.Since(began), err)
	out, err = shell(ctx, "kubectl --context sjc -n openstack get pods -o wide; kubectl --context sjc -n openstack get events | tail -20; kubectl --context sjc -n openstack logs deploy/keystone-api --all-containers --tail 10")
	t.Log(out, err)
}
