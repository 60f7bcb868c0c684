package bench

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestRequests checks, with the API servers' own metrics, that a rotation takes one request to each
// reachable remote and none to the main region.
func TestRequests(t *testing.T) {
	const counted = 20
	for _, n := range []int{3, 300} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			table := [][]string{{fmt.Sprintf("%d rotations", counted), "remotes", "GET", "LIST", "POST", "PUT", "PATCH", "APPLY", "DELETE"}}
			s := newStand(t)
			a, _ := s.sides(n)
			// By default, resync adds a GET every minute, and a timeout would add a retry.
			r := s.ours(a, n, "--resync", "1h", "--request-timeout", "5m")
			s.synced(r)
			s.settle(r)
			s.rotate(r)
			before := s.requests()
			for range counted {
				s.rotate(r)
			}
			after := s.requests()
			for _, region := range append([]string{mainRegion}, regions...) {
				of := n / len(regions)
				if region == mainRegion {
					of = 0
				}
				row := []string{region, strconv.Itoa(of)}
				for _, verb := range table[0][2:] {
					want := 0
					switch {
					case region == mainRegion && (verb == "GET" || verb == "PUT"): // the rotation job reads and writes the source
						want = counted
					case verb == "PUT":
						want = counted * of
					}
					got := after[region][verb] - before[region][verb]
					if got != want {
						t.Errorf("%s had %d %s requests, want %d", region, got, verb, want)
					}
					row = append(row, strconv.Itoa(got))
				}
				table = append(table, row)
			}
			write := show
			if n == 300 {
				write = publish
			}
			write(t, fmt.Sprintf("Requests for Secrets, %d remotes", n), table)
		})
	}
}

// requests returns the number of requests for Secrets by cluster and verb. It omits watches,
// because API servers count them only when they end.
func (s *stand) requests() map[string]map[string]int {
	s.Helper()
	all := map[string]map[string]int{}
	for _, name := range append([]string{mainRegion}, regions...) {
		all[name] = s.requestsTo(shared.Cluster(name))
	}
	return all
}

func (s *stand) requestsTo(c *testenv.Cluster) map[string]int {
	s.Helper()
	text, err := c.Client().CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(s.Ctx)
	s.Must(err)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	s.Must(err)
	byVerb := map[string]int{}
	for _, metric := range families["apiserver_request_total"].GetMetric() {
		if label(metric, "resource") == "secrets" {
			byVerb[label(metric, "verb")] += int(metric.GetCounter().GetValue())
		}
	}
	if len(byVerb) == 0 {
		s.Fatalf("the metrics of %s have no requests for Secrets", c.Name)
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
