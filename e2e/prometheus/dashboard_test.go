package prometheus

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"github.com/fernetcast/fernetcast/e2e/testenv/kustomize"
)

const (
	dashboardDir  = "../../manifests/monitoring/dashboard"
	dashboardFile = dashboardDir + "/fernetcast.json"
)

// dashboard is the part of a dashboard's JSON that concerns queries.
type dashboard struct {
	ID            *int
	UID, Title    string
	FolderTitle   string
	SchemaVersion int
	Annotations   struct {
		List []struct{ Name, Expr string }
	}
	Templating struct {
		List []struct {
			Name, Type, AllValue string
			Query                json.RawMessage
		}
	}
	Panels []panel
}

type panel struct {
	ID          int
	Title, Type string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		RefID, Expr string
		Instant     bool
	}
}

func readDashboard(t testing.TB) dashboard {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	testenv.Must(t, err)
	var d dashboard
	testenv.Must(t, json.Unmarshal(text, &d))
	return d
}

// filled returns a query with Grafana's variables replaced.
func filled(query, cluster string) string {
	return strings.NewReplacer("$cluster", cluster, "$remote", ".*", "$__rate_interval", "1m").Replace(query)
}

// TestDashboardCanBeLoaded checks that Grafana can load the dashboard, and that the ConfigMap
// contains it.
func TestDashboardCanBeLoaded(t *testing.T) {
	d := readDashboard(t)
	if d.ID != nil || d.UID == "" || d.Title == "" || d.FolderTitle == "" || d.SchemaVersion < 39 {
		t.Errorf("id %v, uid %q, title %q, folderTitle %q, schemaVersion %d", d.ID, d.UID, d.Title, d.FolderTitle, d.SchemaVersion)
	}
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("%s has the id %d, the description %q, and %d queries", p.Title, p.ID, p.Description, len(p.Targets))
		}
		ids[p.ID] = true
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] {
				t.Errorf("%s has two queries named %s", p.Title, target.RefID)
			}
			refs[target.RefID] = true
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := places[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s overlaps %q, or exceeds the width", p.Title, other)
				}
				places[[2]int{x, y}] = p.Title
			}
		}
	}
	file, err := os.ReadFile(dashboardFile)
	testenv.Must(t, err)
	resources, err := kustomize.Build(dashboardDir)
	testenv.Must(t, err)
	text, err := resources.AsYaml()
	testenv.Must(t, err)
	var made corev1.ConfigMap
	testenv.Must(t, yaml.UnmarshalStrict(text, &made))
	if made.Labels["grafana_dashboard"] != "1" || !bytes.Equal([]byte(made.Data["fernetcast.json"]), file) {
		t.Errorf("the ConfigMap has the wrong labels, %v, or the wrong dashboard", made.Labels)
	}
}

// dashboardReturnsData runs each query of the dashboard for all clusters, for one cluster, and for
// a Prometheus that doesn't set the label cluster.
func (p *server) dashboardReturnsData() {
	p.s.Helper()
	d := readDashboard(p.s)
	for _, cluster := range []string{".*", mainRegion, ""} {
		for _, a := range d.Annotations.List {
			if a.Expr != "" {
				p.hasReturned(a.Name, filled(a.Expr, cluster))
			}
		}
		for _, panel := range d.Panels {
			for _, target := range panel.Targets {
				name := fmt.Sprintf("%s, %s, cluster %q", panel.Title, target.RefID, cluster)
				if query := filled(target.Expr, cluster); target.Instant {
					p.returnsNow(name, query)
				} else {
					p.hasReturned(name, query)
				}
			}
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		if v.AllValue != ".*" {
			p.s.Errorf("the variable %s has the value %q for All", v.Name, v.AllValue)
		}
		var query struct{ Query string }
		p.s.Must(json.Unmarshal(v.Query, &query))
		selector, label, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(query.Query, "label_values("), ")"), ", ")
		values, _, _, err := p.LabelValues(p.s.Ctx, label, []string{filled(selector, ".*")}, p.started, time.Now())
		if err != nil || len(values) == 0 || label != v.Name {
			p.s.Errorf("the variable %s has the values %v, %v", v.Name, values, err)
		}
	}
}

func (p *server) returnsNow(name, query string) {
	p.s.Helper()
	vector, err := p.instant(p.s.Ctx, query)
	if err != nil || len(vector) == 0 {
		p.s.Errorf("%s: nothing is returned, %v: %s", name, err, query)
	}
}

// hasReturned checks that a query has returned data at any time since the start, because some
// queries return data only for a while after an event.
func (p *server) hasReturned(name, query string) {
	p.s.Helper()
	matrix, err := p.since(p.s.Ctx, query)
	if err != nil || len(matrix) == 0 {
		p.s.Errorf("%s: nothing was returned, %v: %s", name, err, query)
	}
}

// annotation returns the query of the annotation with the given name.
func (d dashboard) annotation(name string) string {
	for _, a := range d.Annotations.List {
		if a.Name == name {
			return a.Expr
		}
	}
	panic("the dashboard has no annotation " + name)
}

// panel returns the panel with the given title.
func (d dashboard) panel(title string) panel {
	i := slices.IndexFunc(d.Panels, func(p panel) bool { return p.Title == title })
	if i < 0 {
		panic("the dashboard has no panel " + title)
	}
	return d.Panels[i]
}

// query returns one of the panel's queries.
func (p panel) query(ref string) string {
	for _, target := range p.Targets {
		if target.RefID == ref {
			return target.Expr
		}
	}
	panic(p.Title + " has no query " + ref)
}

// worst lists the unhealthy remotes in the table's order: first the remote with unrelated keys,
// then two that are 2 generations behind, and then the others.
var worst = []string{"held", "failed", "behind", "misconfigured", "denied", "unreachable", "contested"}

// eachRegionOnce waits until the table has one row for each of the main region's remotes, however
// many replicas report it. Each row must show the remote's state, and the worst must come first.
func (p *server) eachRegionOnce(states map[string]string) {
	table := readDashboard(p.s).panel("Is a token about to fail?")
	p.s.Until(func(ctx context.Context) error {
		rows, err := p.instant(ctx, filled(table.query("State"), mainRegion))
		if err != nil {
			return err
		}
		var errs []error
		shown := map[string]string{}
		for _, row := range rows {
			name := string(row.Metric["remote"])
			if shown[name] != "" {
				errs = append(errs, fmt.Errorf("%s appears twice", name))
			}
			shown[name] = string(row.Metric["state"])
		}
		for name, state := range states {
			if shown[name] != state {
				errs = append(errs, fmt.Errorf("the table shows %s as %q, want %s", name, shown[name], state))
			}
		}
		if len(shown) != len(states) {
			errs = append(errs, fmt.Errorf("there are %d rows, want %d: %v", len(shown), len(states), rows))
		}
		slices.SortFunc(rows, func(a, b *model.Sample) int { return cmp.Compare(b.Value, a.Value) })
		for i, name := range worst {
			if i >= len(rows) || string(rows[i].Metric["remote"]) != name {
				errs = append(errs, fmt.Errorf("%s is not in row %d of %v", name, i+1, rows))
			}
		}
		for title, count := range map[string]int{"Refuse new tokens": 3, "Will, after the next rotation": 0, "Not in sync": len(worst)} {
			if n, err := p.instant(ctx, filled(readDashboard(p.s).panel(title).query("A"), mainRegion)); err != nil || len(n) != 1 || int(n[0].Value) != count {
				errs = append(errs, fmt.Errorf("%s: %v, %v, want %d", title, n, err, count))
			}
		}
		return errors.Join(errs...)
	})
	for _, target := range table.Targets {
		rows, err := p.instant(p.s.Ctx, filled(target.Expr, ".*"))
		p.s.Must(err)
		seen := map[[2]model.LabelValue]bool{}
		for _, row := range rows {
			at := [2]model.LabelValue{row.Metric["cluster"], row.Metric["remote"]}
			if seen[at] || at[1] == "" || at[0] == elsewhere {
				p.s.Errorf("%s: %v has two rows, has no name, or is a standby", target.RefID, at)
			}
			seen[at] = true
		}
	}
}
