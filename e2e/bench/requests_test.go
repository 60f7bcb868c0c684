package bench

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/fernetcast/fernetcast/e2e/ground"
)

const counted = 20

// A rotation is one request to each remote that is up, and none to the main,
// by the API servers' own count.
func TestRequests(t *testing.T) {
	s := newStand(t)
	// No resync meanwhile: it is a GET a minute.
	s.run(s.program(), "--resync", "1h")
	s.lastEqual(s.keys)
	s.rotate()
	before := s.requests()
	for range counted {
		s.rotate()
	}
	after := s.requests()
	rows := [][]string{{fmt.Sprintf("requests for Secrets in %d rotations", counted), "GET", "LIST", "POST", "PUT", "PATCH", "APPLY", "DELETE"}}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		row := []string{name}
		for _, verb := range rows[0][1:] {
			n, want := after[name][verb]-before[name][verb], 0
			switch {
			case verb == "PUT", name == mainRegion && verb == "GET": // the rotation job reads and writes the main
				want = counted
			}
			if n != want {
				t.Errorf("%s had %d %s requests, want %d", name, n, verb, want)
			}
			row = append(row, strconv.Itoa(n))
		}
		rows = append(rows, row)
	}
	t.Log(table(rows))
}

// requests are those for Secrets by cluster and verb. Watches are not among
// them: they are counted when they end.
func (s *stand) requests() map[string]map[string]int {
	s.Helper()
	all := map[string]map[string]int{}
	for _, name := range append([]string{mainRegion}, remotes...) {
		all[name] = s.requestsTo(shared.Cluster(name))
	}
	return all
}

func (s *stand) requestsTo(c *ground.Cluster) map[string]int {
	s.Helper()
	text, err := c.Client().CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(s.ctx)
	s.must(err)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	s.must(err)
	byVerb := map[string]int{}
	for _, metric := range families["apiserver_request_total"].GetMetric() {
		if label(metric, "resource") == "secrets" {
			byVerb[label(metric, "verb")] += int(metric.GetCounter().GetValue())
		}
	}
	if len(byVerb) == 0 {
		s.Fatalf("%s counts no requests for Secrets", c.Name)
	}
	return byVerb
}

func label(metric *dto.Metric, name string) string {
	for _, l := range metric.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
