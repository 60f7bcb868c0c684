package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/node"
	"github.com/fernetcast/fernetcast/e2e/node/chart"
	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/fernetcast/fernetcast/e2e/testenv/kustomize"
)

// podRegion is an additional remote with a real node and Keystone pods, if this machine can run a
// node.
const podRegion = "phx"

// pods holds the Keystones in podRegion. It is nil if there is no node.
type pods struct {
	node *node.Node
	http *http.Client
	open []chart.Door
}

// byKubelet is the name of the Keystone Deployment that gets its keys from the kubelet instead of
// `fernetcast files`.
const byKubelet = "keystone-kubelet"

// openPods starts a node, joins its region, and starts two Keystones there. One gets its keys from
// `fernetcast files`, the other from the kubelet.
func (s *stage) openPods(ctx context.Context, view *screen, cloud *keystone.Cloud) error {
	err := node.Possible()
	if err == nil && !s.env.Built(node.Tools...) { // building takes minutes, so skip it in a first demo
		err = errors.New("the programs of a node are not built yet; to build them: cd e2e && go run ./testenv/prepare node")
	}
	if err == nil { // the image is built only once, from packages of a Debian mirror
		_, err = node.Keystone(ctx, os.Stderr)
	}
	if err != nil {
		view.say("Skipping the pods: %v", err)
		return nil
	}
	view.say("Starting a node in another region, %s, with two Keystone pods. One gets its keys from fernetcast files, the other from the kubelet, which takes up to 90 seconds.", podRegion)
	n, err := node.Start(ctx, s.env, podRegion)
	if err != nil {
		return err
	}
	s.pods = &pods{node: n, http: n.HTTP()}
	const version = "v0.0.0-demo"
	if err := chart.Images(ctx, n, s.env, version, cloud.Database()); err != nil {
		return err
	}
	client, err := n.Client(podRegion)
	if err != nil {
		return err
	}
	if err := chart.MakeNamespace(ctx, client, s.env.Keys, namespace, "restricted"); err != nil {
		return err
	}
	if err := s.joinRegion(ctx, client); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := testenv.Until(waiting, 50*time.Millisecond, s.allSynced); err != nil {
		return fmt.Errorf("waiting for %s to be Synced: %w\n%s", podRegion, err, s.syncer.Stderr.Tail(10))
	}
	if err := s.deploy(ctx, client, version); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	s.pods.open, err = chart.Doors(starting, client, map[string]string{podRegion: namespace})
	return err
}

// joinRegion adds a kubeconfig for the region. The running fernetcast loads it.
func (s *stage) joinRegion(ctx context.Context, client kubernetes.Interface) error {
	if err := chart.LetIn(ctx, client, namespace); err != nil {
		return err
	}
	token, err := chart.Token(ctx, client, namespace)
	if err != nil {
		return err
	}
	kubeconfig, err := s.pods.node.OutsideKubeconfig(podRegion, namespace, token)
	if err != nil {
		return err
	}
	s.remotes = append(s.remotes, podRegion)
	return testenv.WriteFile(filepath.Join(s.dir, "clusters"), podRegion+".kubeconfig", kubeconfig)
}

// deploy deploys both Keystones.
func (s *stage) deploy(ctx context.Context, client kubernetes.Interface, version string) error {
	openstack, err := chart.Open(s.env)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dir, "kustomization")
	// Use the same short pause as in the other regions, because rotations are frequent in the demo.
	const patch = `patches:
  - target: {kind: Deployment, name: keystone-api}
    patch: |
      - {op: add, path: /spec/template/spec/initContainers/0/args/-, value: --pause=300ms}
`
	if err := openstack.Write(dir, namespace, version, patch, "files"); err != nil {
		return err
	}
	objects, err := kustomize.Build(dir)
	if err != nil {
		return err
	}
	config, err := s.pods.node.Config(podRegion)
	if err != nil {
		return err
	}
	for _, object := range objects.Resources() {
		fields, err := object.Map()
		if err != nil {
			return err
		}
		if err := testenv.Apply(ctx, config, namespace, &unstructured.Unstructured{Object: fields}); err != nil {
			return fmt.Errorf("creating %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	_, err = client.AppsV1().Deployments(namespace).Create(ctx, openstack.Plain(namespace, byKubelet), metav1.CreateOptions{})
	return err
}

// witnesses returns a witness for each Keystone pod.
func (p *pods) witnesses() (all []witness) {
	if p == nil {
		return nil
	}
	for _, door := range p.open {
		w := witness{name: door.Region + "'s pod", ours: true, validate: func(ctx context.Context, token keystone.Token) (int, error) {
			request, err := keystone.ValidateRequest(ctx, door.URL, token.Text)
			if err != nil {
				return 0, err
			}
			response, err := keystone.Send(p.http, request)
			if err != nil {
				return 0, err
			}
			return response.StatusCode, nil
		}}
		if door.Deployment == byKubelet {
			w.name, w.ours = door.Region+"'s pod without fernetcast files", false
		}
		all = append(all, w)
	}
	return all
}

// close stops the node.
func (p *pods) close() error {
	if p == nil {
		return nil
	}
	p.http.CloseIdleConnections()
	return p.node.Close()
}
