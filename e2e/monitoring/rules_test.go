package monitoring

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"
)

// readRules reads rules.yaml into the operator's types. It fails the test if there is a field that
// the types don't have.
func readRules(t *testing.T) monitoringv1.PrometheusRuleSpec {
	t.Helper()
	text, err := os.ReadFile(plainRules)
	if err != nil {
		t.Fatal(err)
	}
	var rules monitoringv1.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict(text, &rules); err != nil {
		t.Fatalf("reading %s: %v", plainRules, err)
	}
	return rules
}

// alerts returns the alerting rules.
func alerts(t *testing.T) []monitoringv1.Rule {
	t.Helper()
	var found []monitoringv1.Rule
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" {
				found = append(found, rule)
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no alert", plainRules)
	}
	return found
}

func TestPromtoolTakesTheRules(t *testing.T) {
	promtool(t, "check", "rules", plainRules)
}

// TestAlertsFireAndStaySilent runs the test files in testdata. They define when each alert must
// fire and when it must stay silent.
func TestAlertsFireAndStaySilent(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files with tests of the rules: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			promtool(t, "test", "rules", file)
		})
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, alert := range alerts(t) {
		name := "alertname: " + alert.Alert
		if !strings.Contains(all.String(), name+"\n        exp_alerts:\n") || !strings.Contains(all.String(), name+", exp_alerts: []") {
			t.Errorf("the test files do not have %s both firing and silent", alert.Alert)
		}
	}
}

// TestAlertsAreWhole checks that each alert has the expected severity and the annotations that an
// operator reads.
func TestAlertsAreWhole(t *testing.T) {
	severities := map[string]string{}
	for _, alert := range alerts(t) {
		severities[alert.Alert] = alert.Labels["severity"]
		for _, annotation := range []string{"summary", "description", "runbook_url"} {
			if alert.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", alert.Alert, annotation)
			}
		}
	}
	want := map[string]string{
		"FernetcastRegionNotSynced":     "warning",
		"FernetcastRegionRefusesTokens": "critical",
		"FernetcastNobodyPushes":        "critical",
		"FernetcastSourceUnusable":      "critical",
		"FernetcastNoRemotes":           "critical",
		"FernetcastFilesOld":            "warning",
		"FernetcastCredentialsExpire":   "warning",
		"FernetcastRegionRotatesItself": "warning",
		"FernetcastKeysGrowOld":         "warning",
		"FernetcastTokenRefused":        "critical",
	}
	if diff := cmp.Diff(want, severities); diff != "" {
		t.Errorf("severities (-want +have):\n%s", diff)
	}
}

// TestOperatorHasThePlainRules checks that prometheusrule.yaml has the same rules and comments as
// rules.yaml.
func TestOperatorHasThePlainRules(t *testing.T) {
	var groups monitoringv1.PrometheusRuleSpec
	for _, rule := range prometheusRules(t, monitoringDir) {
		groups.Groups = append(groups.Groups, rule.Spec.Groups...)
	}
	if diff := cmp.Diff(readRules(t), groups); diff != "" {
		t.Errorf("prometheusrule.yaml differs from rules.yaml (-plain +operator's):\n%s", diff)
	}
	comments := func(path string) (found []string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rules, _ := strings.Cut(string(text), "groups:\n")
		for line := range strings.Lines(rules) {
			if comment, ok := strings.CutPrefix(strings.TrimSpace(line), "#"); ok {
				found = append(found, comment)
			}
		}
		return found
	}
	if diff := cmp.Diff(comments(plainRules), comments(monitoringDir+"/prometheusrule.yaml")); diff != "" {
		t.Errorf("the comments in prometheusrule.yaml differ from those in rules.yaml (-plain +operator's):\n%s", diff)
	}
}
