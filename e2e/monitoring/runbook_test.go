package monitoring

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const runbook = "docs/runbooks.md"

// chapters returns the text below each of the runbook's headings of the given level, by the anchor
// that GitHub creates for the heading.
func chapters(t *testing.T, level string) map[string]string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(repository, runbook))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	anchor, fenced := "", false
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		hashes, heading, _ := strings.Cut(line, " ")
		isHeading := !fenced && strings.Trim(hashes, "#") == "" && hashes != ""
		switch {
		case isHeading && hashes == level:
			kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
			anchor = strings.ReplaceAll(kept, " ", "-")
		case isHeading && len(hashes) < len(level):
			anchor = ""
		case anchor != "":
			found[anchor] += line
		}
	}
	return found
}

// TestRunbookAnswersEachAlert checks that each alert links to its section in the runbook, and that
// every section belongs to an alert.
func TestRunbookAnswersEachAlert(t *testing.T) {
	answers := chapters(t, "###")
	for _, alert := range alerts(t) {
		anchor := strings.ToLower(alert.Alert)
		if want := "https://github.com/fernetcast/fernetcast/blob/main/" + runbook + "#" + anchor; alert.Annotations["runbook_url"] != want {
			t.Errorf("%s links to %s, want %s", alert.Alert, alert.Annotations["runbook_url"], want)
		}
		parts := regexp.MustCompile(`(?m)^\*\*(\w+)\.\*\*(?: \S|$)`).FindAllStringSubmatch(answers[anchor], -1)
		var names []string
		for _, part := range parts {
			names = append(names, part[1])
		}
		if diff := cmp.Diff([]string{"Meaning", "Impact", "Diagnosis", "Mitigation"}, names); diff != "" {
			t.Errorf("%s has the wrong parts (-want +have):\n%s", anchor, diff)
		}
		// Commands must be in code blocks, where a test in package manifests finds and runs them.
		if loose := regexp.MustCompile("`(?:kubectl|fernetcast) [^`]*`").FindAllString(answers[anchor], -1); loose != nil {
			t.Errorf("#%s has commands that no test runs: %q", anchor, loose)
		}
		delete(answers, anchor)
	}
	for anchor := range answers {
		if strings.HasPrefix(anchor, "fernetcast") {
			t.Errorf("#%s is not an alert", anchor)
		}
	}
}

// TestPrometheusTakesTheScrapeConfig checks the runbook's configuration for a Prometheus without
// the Prometheus Operator. It must find the same containers as the PodMonitors, by their ports.
// Debian's Prometheus can't discover pods, so the test compares that part with the PodMonitors and
// passes only the rest to promtool.
func TestPrometheusTakesTheScrapeConfig(t *testing.T) {
	chapter := chapters(t, "##")["set-up-monitoring"]
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(chapter, -1)
	if len(blocks) != 1 {
		t.Fatalf("there are %d configurations, want 1", len(blocks))
	}
	var config struct {
		ScrapeConfigs []map[string]any `json:"scrape_configs"`
		RuleFiles     []string         `json:"rule_files"`
	}
	if err := yaml.UnmarshalStrict([]byte(blocks[0][1]), &config); err != nil || len(config.ScrapeConfigs) != 1 {
		t.Fatalf("%v in\n%s", err, blocks[0][1])
	}
	scrape := config.ScrapeConfigs[0]
	pods := []any{map[string]any{"role": "pod", "namespaces": map[string]any{"names": []any{"openstack"}}}}
	if diff := cmp.Diff(pods, scrape["kubernetes_sd_configs"]); diff != "" {
		t.Errorf("the pods are selected differently (-want +have):\n%s", diff)
	}
	delete(scrape, "kubernetes_sd_configs")
	var ports []string
	for _, monitor := range podMonitors(t, monitoringDir) {
		for _, endpoint := range monitor.Spec.PodMetricsEndpoints {
			if !slices.Contains(ports, *endpoint.Port) {
				ports = append(ports, *endpoint.Port)
			}
		}
	}
	keep := map[string]any{
		"source_labels": []any{"__meta_kubernetes_pod_container_port_name"}, "regex": strings.Join(ports, "|"), "action": "keep",
	}
	if diff := cmp.Diff(keep, scrape["relabel_configs"].([]any)[0]); diff != "" {
		t.Errorf("the kept series differ from those that the PodMonitors scrape (-want +have):\n%s", diff)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir+"/fernetcast", os.DirFS(monitoringDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/prometheus.yaml", []byte(marshal(t, config)), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "config", dir+"/prometheus.yaml")
}
