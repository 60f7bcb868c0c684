package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/fernetcast/fernetcast/e2e/testenv/kustomize"
)

// rendered returns the objects of one kind that `kubectl apply -k` would apply. It fails the test
// if an object has a field that its type doesn't have.
func rendered[T any](t *testing.T, dir, kind string) []T {
	t.Helper()
	resources, err := kustomize.Build(dir)
	if err != nil {
		t.Fatalf("building %s: %v", dir, err)
	}
	var objects []T
	for _, resource := range resources.Resources() {
		if resource.GetKind() != kind {
			continue
		}
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatalf("writing %s of %s: %v", resource.CurId(), dir, err)
		}
		var object T
		if err := yaml.UnmarshalStrict(text, &object); err != nil {
			t.Fatalf("reading %s of %s: %v", resource.CurId(), dir, err)
		}
		objects = append(objects, object)
	}
	return objects
}

func prometheusRules(t *testing.T, dir string) []monitoringv1.PrometheusRule {
	t.Helper()
	return rendered[monitoringv1.PrometheusRule](t, dir, monitoringv1.PrometheusRuleKind)
}

func podMonitors(t *testing.T, dir string) []monitoringv1.PodMonitor {
	t.Helper()
	return rendered[monitoringv1.PodMonitor](t, dir, monitoringv1.PodMonitorsKind)
}

// TestPodMonitorsSelectThePods checks that each pod with fernetcast is selected by exactly one
// PodMonitor, whose port the pod has.
func TestPodMonitorsSelectThePods(t *testing.T) {
	monitors := podMonitors(t, monitoringDir)
	for dir, want := range map[string][]string{
		"../manifests/testdata/overlay":      {"fernetcast"},
		"../manifests/testdata/files":        {"fernetcast-files", "fernetcast"},
		repository + "/manifests/deployment": {"fernetcast"},
	} {
		deployments := rendered[appsv1.Deployment](t, dir, "Deployment")
		if len(deployments) != 1 {
			t.Fatalf("%s has %d Deployments, want 1", dir, len(deployments))
		}
		pod := deployments[0].Spec.Template
		var selected []string
		for _, monitor := range monitors {
			selector, err := metav1.LabelSelectorAsSelector(&monitor.Spec.Selector)
			if err != nil {
				t.Fatal(err)
			}
			if !selector.Matches(labels.Set(pod.Labels)) {
				continue
			}
			selected = append(selected, monitor.Name)
			if monitor.Namespace != "openstack" {
				t.Errorf("%s selects pods in the namespaces %q", monitor.Name, monitor.Namespace)
			}
			if got := scraped(pod.Spec, monitor); !slices.Equal(got, want) {
				t.Errorf("%s: %s scrapes the containers %q", dir, monitor.Name, got)
			}
		}
		if len(selected) != 1 {
			t.Errorf("%s: the PodMonitors %q select the pods", dir, selected)
		}
	}
}

// scraped returns the names of the containers that have a port of the PodMonitor.
func scraped(pod corev1.PodSpec, monitor monitoringv1.PodMonitor) (names []string) {
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, port := range container.Ports {
			for _, endpoint := range monitor.Spec.PodMetricsEndpoints {
				if endpoint.Port != nil && *endpoint.Port == port.Name {
					names = append(names, container.Name)
				}
			}
		}
	}
	return names
}

// TestStandbyIsAllButOneAlert checks that manifests/monitoring-standby has everything in
// manifests/monitoring except the alert that would always fire in a standby.
func TestStandbyIsAllButOneAlert(t *testing.T) {
	standby := monitoringDir + "-standby"
	var want []monitoringv1.PrometheusRule
	for _, rule := range prometheusRules(t, monitoringDir) {
		if !strings.Contains(marshal(t, rule), "alert: FernetcastNobodyPushes") {
			want = append(want, rule)
		}
	}
	if diff := cmp.Diff(want, prometheusRules(t, standby)); diff != "" || len(want) != 1 {
		t.Errorf("the rules of a standby (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff(podMonitors(t, monitoringDir), podMonitors(t, standby)); diff != "" {
		t.Errorf("the PodMonitors of a standby (-want +have):\n%s", diff)
	}
}

// TestLabelAndIntervalCanBeChanged checks that the overlay in the comment of kustomization.yaml
// changes the label and the interval, and nothing else.
func TestLabelAndIntervalCanBeChanged(t *testing.T) {
	text, err := os.ReadFile(monitoringDir + "/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	overlay := "kind: Kustomization\n" + strings.Join(regexp.MustCompile(`(?m)^  #   (.*)$`).FindAllString(string(text), -1), "\n")
	overlay = regexp.MustCompile(`(?m)^  #   `).ReplaceAllString(overlay, "")
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "fernetcast/manifests/monitoring"), os.DirFS(monitoringDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mine/kustomization.yaml"), []byte(overlay), 0o644); err != nil {
		t.Fatal(err)
	}

	// Both kinds have the label, but only in metadata. Selectors must not change.
	changed := func(text string) string {
		text = strings.ReplaceAll(text, "release: kube-prometheus-stack", "release: my-prometheus")
		return strings.ReplaceAll(text, `expr: "43200"`, `expr: "86400"`)
	}
	before := marshal(t, prometheusRules(t, monitoringDir)) + marshal(t, podMonitors(t, monitoringDir))
	after := marshal(t, prometheusRules(t, dir+"/mine")) + marshal(t, podMonitors(t, dir+"/mine"))
	if n := strings.Count(before, "release: kube-prometheus-stack"); n != 5 {
		t.Errorf("%d of 5 objects have the label", n)
	}
	if diff := cmp.Diff(changed(before), after); diff != "" || before == after || !strings.Contains(after, `expr: "86400"`) {
		t.Errorf("the overlay changes other things (-want +have):\n%s", diff)
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
