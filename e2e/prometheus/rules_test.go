package prometheus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"
)

// ruleFile is a Prometheus rule file.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Record, Alert, Expr string
			Labels, Annotations map[string]string
		}
	}
}

// change is a pattern in the rules, and the text that replaces it.
type change struct{ pattern, with string }

// rules returns the shipped rules with the given changes. It fails the test if a change matches
// nothing.
func (s *stage) rules(changes ...change) []byte {
	s.Helper()
	text, err := os.ReadFile("../../manifests/monitoring/rules.yaml")
	s.Must(err)
	for _, c := range changes {
		pattern := regexp.MustCompile(c.pattern)
		if !pattern.Match(text) {
			s.Fatalf("the pattern %s matches nothing in the rules", c.pattern)
		}
		text = pattern.ReplaceAll(text, []byte(c.with))
	}
	return text
}

var (
	// selector matches the name of one of our metrics or recording rules, followed by its label
	// matchers.
	selector = regexp.MustCompile(`\b(fernetcast[_:][a-z_:]+|workqueue_[a-z_]+|process_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*(?:"([^"]*)"|%q)`)
	grouping = regexp.MustCompile(`\b(?:by|on|ignoring|without|group_left|group_right) ?\(([^)]*)\)`)
)

// rulesKnowTheMetrics checks that Prometheus evaluates each rule, and that each metric, label, and
// state in an expression or annotation exists. Prometheus accepts a wrong name, but the alert would
// then never fire.
func (p *server) rulesKnowTheMetrics(text []byte) {
	p.s.Helper()
	var file ruleFile
	p.s.Must(yaml.Unmarshal(text, &file))
	recorded, expressions := map[string]bool{}, map[string]string{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			recorded[rule.Record] = true
			expressions[rule.Record+rule.Alert] = rule.Expr + "\n" + rule.Annotations["description"] + "\n" + rule.Annotations["summary"]
		}
	}
	for _, panel := range readDashboard(p.s).Panels {
		for _, target := range panel.Targets {
			expressions[panel.Title+", "+target.RefID] = filled(target.Expr, ".*")
		}
	}
	known := p.labels()
	for name, expr := range expressions {
		for _, found := range selector.FindAllStringSubmatch(expr, -1) {
			if recorded[found[1]] {
				continue
			}
			if known[found[1]] == nil {
				p.s.Errorf("%s: metric %s does not exist", name, found[1])
			}
			for _, m := range matcher.FindAllStringSubmatch(found[2], -1) {
				if !known[found[1]][m[1]] {
					p.s.Errorf("%s: %s has no label %s", name, found[1], m[1])
				}
				for state := range strings.SplitSeq(m[2], "|") {
					if m[1] == "state" && !states[state] {
						p.s.Errorf("%s: state %q does not exist", name, state)
					}
				}
			}
		}
		for _, found := range grouping.FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(found[1], ",") {
				if label = strings.TrimSpace(label); label != "" && !known[""][label] {
					p.s.Errorf("%s: no metric has a label %s", name, label)
				}
			}
		}
	}
	p.evaluatesAll(file)
}

// labels returns the labels of each metric in Prometheus. The key "" has the labels of all metrics.
func (p *server) labels() map[string]map[string]bool {
	p.s.Helper()
	series, _, _, err := p.Series(p.s.Ctx, []string{`{__name__=~".+"}`}, p.started, time.Now())
	p.s.Must(err)
	known := map[string]map[string]bool{"": {}}
	for _, labels := range series {
		name := string(labels[model.MetricNameLabel])
		if known[name] == nil {
			known[name] = map[string]bool{}
		}
		for label := range labels {
			known[name][string(label)], known[""][string(label)] = true, true
		}
	}
	return known
}

// states lists the states of remotes and of the source, as in docs/reference.md.
var states = map[string]bool{
	"Synced": true, "Standby": true, "Self": true, "Pending": true, "Behind": true, "Held": true, "Contested": true, "Denied": true,
	"Unreachable": true, "Failed": true, "Misconfigured": true,
	"Main": true, "Unpromoted": true, "Absent": true, "Refused": true, "Unread": true,
}

// evaluatesAll waits until Prometheus has evaluated every rule without an error.
func (p *server) evaluatesAll(file ruleFile) {
	p.s.Helper()
	want := 0
	for _, group := range file.Groups {
		want += len(group.Rules)
	}
	p.s.Until(func(ctx context.Context) error {
		result, err := p.Rules(ctx, nil)
		if err != nil {
			return err
		}
		var errs []error
		n := 0
		for _, group := range result.Groups {
			n += len(group.Rules)
			for _, rule := range group.Rules {
				name, health, trouble := "", promv1.RuleHealth(""), ""
				switch r := rule.(type) {
				case promv1.AlertingRule:
					name, health, trouble = r.Name, r.Health, r.LastError
				case promv1.RecordingRule:
					name, health, trouble = r.Name, r.Health, r.LastError
				}
				if health != promv1.RuleHealthGood {
					errs = append(errs, fmt.Errorf("the rule %s is %s: %s", name, health, trouble))
				}
			}
		}
		if n != want || n == 0 {
			errs = append(errs, fmt.Errorf("Prometheus has %d rules, want %d", n, want))
		}
		return errors.Join(errs...)
	})
}
