package manifests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const runbookPage = repository + "/docs/runbooks.md"

// runbookCommands returns the lines of the shell blocks in docs/runbooks.md, in order.
func runbookCommands(t *testing.T) []string {
	t.Helper()
	var commands []string
	for _, step := range steps(t, runbookPage) {
		if step.language == "sh" {
			commands = append(commands, strings.Split(strings.TrimSpace(step.text), "\n")...)
		}
	}
	if len(commands) == 0 {
		t.Fatal("docs/runbooks.md has no commands")
	}
	return commands
}

// TestRunbookCommands runs every command in docs/runbooks.md as written, in a main region with a
// remote, while fernetcast is running.
func TestRunbookCommands(t *testing.T) {
	ctx := within(t, shortBuild)
	program, err := shared.Program(ctx)
	testenv.Must(t, err)
	testenv.Must(t, shared.Start(ctx, "runbook-main", "runbook-remote"))
	sjc, dfw := shared.Cluster("runbook-main"), shared.Cluster("runbook-remote")
	operator := newWorkstation(t, program.Path, map[string]*testenv.Cluster{"sjc": sjc, "dfw": dfw})
	mirrored(ctx, t, program, operator, sjc, dfw)
	operator.env = append(operator.env, testenv.Identity(t, "", "sjc", "dfw")...)

	said := map[string]string{}
	for _, command := range runbookCommands(t) {
		// Add --yes, because there is no terminal to ask for confirmation.
		sh := exec.CommandContext(ctx, "/bin/sh", "-c", strings.Replace(command, "promote sjc", "promote sjc --yes", 1))
		sh.Dir, sh.Env = repository, operator.env
		output, err := sh.CombinedOutput()
		if err != nil || len(output) == 0 || strings.Contains(string(output), "No resources found") {
			t.Errorf("%s: %v\n%s", command, err, output)
		}
		said[command] = string(output)
		shared.Keys.NoLeaks(t, command, string(output))
	}
	for part, says := range map[string]string{
		"status": "Synced", "-c fernetcast ": "remote is Synced", "-c fernetcast-files": "key repository updated", "get pods": "keystone-api", "get jobs": "rotate-now", "managedFields": "fernetcast-promote",
	} {
		asked := false
		for command, output := range said {
			if strings.Contains(command, part) {
				asked = true
				if !strings.Contains(output, says) {
					t.Errorf("%s: %q is not in the output:\n%s", command, says, output)
				}
			}
		}
		if !asked {
			t.Errorf("docs/runbooks.md has no command that contains %q", part)
		}
	}
	if !suspended(ctx, t, dfw) {
		t.Error("dfw still rotates on its own")
	}
	if suspended(ctx, t, sjc) {
		t.Error("the main region's rotation is suspended")
	}
	for _, region := range []*testenv.Cluster{sjc, dfw} {
		if got := rulesIn(ctx, t, region); strings.Join(got, " ") != "fernetcast" {
			t.Errorf("after the failover, %s has the rules %q", region.Name, got)
		}
	}
}

// mirrored makes sjc the main region and dfw its remote, and creates all objects that the page's
// commands need. fernetcast runs as a process. A simulated kubelet returns the process's log as the
// log of a Keystone pod.
func mirrored(ctx context.Context, t *testing.T, program *testenv.Program, operator workstation, sjc, dfw *testenv.Cluster) {
	t.Helper()
	for _, region := range []*testenv.Cluster{sjc, dfw} {
		makeNamespace(ctx, t, region)
		makeRotation(ctx, t, region)
		makeKind(ctx, t, region, monitoringGroup, "PrometheusRule")
		makeKind(ctx, t, region, monitoringGroup, "PodMonitor")
	}
	if _, err := sjc.Put(ctx, namespace, shared.Keys.NewRepository(8, 7)); err != nil {
		t.Fatal(err)
	}
	clusters := t.TempDir()
	operator.shell(ctx, t, `
kubectl --context sjc --namespace openstack create job --from=cronjob/keystone-fernet-rotate rotate-now
fernetcast --context sjc promote sjc --yes
fernetcast --context sjc join dfw --remote-context dfw --server `+dfw.URL+` --wait 0 --yes
kubectl --context sjc --namespace openstack get secret fernetcast-clusters -o 'jsonpath={.data.dfw\.yaml}' | base64 -d > `+clusters+`/dfw.yaml`)

	run, err := program.WithEnv(operator.env...).Start("run", "--context", "sjc", "--clusters", clusters, "--listen", "")
	testenv.Must(t, err)
	t.Cleanup(run.Kill)
	files, err := program.WithEnv(operator.env...).Start("files", filepath.Join(t.TempDir(), "keys"), "--context", "sjc", "--listen", "")
	testenv.Must(t, err)
	t.Cleanup(files.Kill)
	startKubelet(ctx, t, sjc, map[string]*testenv.Process{"fernetcast": run, filesName: files})
	err = until(ctx, func(context.Context) error {
		if !strings.Contains(run.Stderr.String(), "remote is Synced") || !strings.Contains(files.Stderr.String(), "key repository updated") {
			return errors.New("run or files has not read everything yet: " + run.Stderr.String() + files.Stderr.String())
		}
		return nil
	})
	testenv.Must(t, err)
}

// monitoringGroup is the API group of the Prometheus Operator.
var monitoringGroup = schema.GroupVersion{Group: "monitoring.coreos.com", Version: "v1"}

// makeKind defines a kind in the API server that accepts any fields. For the Prometheus Operator,
// e2e/monitoring checks the fields against the operator's types.
func makeKind(ctx context.Context, t *testing.T, cluster *testenv.Cluster, in schema.GroupVersion, kind string) {
	t.Helper()
	singular := strings.ToLower(kind)
	apply(ctx, t, cluster, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1",
		"kind":       "CustomResourceDefinition",
		"metadata":   map[string]any{"name": singular + "s." + in.Group},
		"spec": map[string]any{
			"group": in.Group,
			"scope": "Namespaced",
			"names": map[string]any{"kind": kind, "singular": singular, "plural": singular + "s"},
			"versions": []any{map[string]any{
				"name": in.Version, "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}})
	err := until(ctx, func(context.Context) error {
		list, err := cluster.Client().Discovery().ServerResourcesForGroupVersion(in.String())
		if err != nil {
			return err
		}
		for _, resource := range list.APIResources {
			if resource.Kind == kind {
				return nil
			}
		}
		return fmt.Errorf("%s is unknown", kind)
	})
	testenv.Must(t, err)
}

func rulesIn(ctx context.Context, t *testing.T, cluster *testenv.Cluster) (names []string) {
	t.Helper()
	client, err := dynamic.NewForConfig(cluster.Config())
	testenv.Must(t, err)
	list, err := client.Resource(monitoringGroup.WithResource("prometheusrules")).Namespace(namespace).List(ctx, metav1.ListOptions{})
	testenv.Must(t, err)
	for _, rule := range list.Items {
		names = append(names, rule.GetName())
	}
	return names
}

// startKubelet adds a node with one Keystone pod to the cluster. Nothing runs there: a simulated
// kubelet returns the logs of the given processes as those of the pod's containers.
func startKubelet(ctx context.Context, t *testing.T, cluster *testenv.Cluster, containers map[string]*testenv.Process) {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: template(t, filesDir).ObjectMeta, Spec: template(t, filesDir).Spec}
	pod.Name, pod.Spec.NodeName = "keystone-api-0", "node"
	kubelet := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ours := strings.CutPrefix(r.URL.Path, "/containerLogs/"+namespace+"/"+pod.Name+"/")
		process := containers[name]
		if !ours || process == nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(process.Stderr.String()))
	}))
	t.Cleanup(kubelet.Close)
	host, port, err := net.SplitHostPort(kubelet.Listener.Addr().String())
	testenv.Must(t, err)
	number, err := strconv.Atoi(port)
	testenv.Must(t, err)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.NodeName}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(number)
	if _, err := cluster.Client().CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
