package prometheus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// job is a scrape job for Prometheus.
type job struct {
	name    string
	targets []string
	// cluster is the value of the label cluster, or "" for a Prometheus that doesn't set this
	// label.
	cluster string
}

// server is a running Prometheus.
type server struct {
	promv1.API
	s       *stage
	started time.Time
}

// prometheus starts a Prometheus that has these rules and scrapes every second. It returns when
// Prometheus has scraped every target.
func (s *stage) prometheus(rules []byte, jobs ...job) *server {
	s.Helper()
	dir := s.TempDir()
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\nscrape_configs:\n")
	targets := 0
	for _, j := range jobs {
		labels := ""
		if j.cluster != "" {
			labels = ", labels: {cluster: " + j.cluster + "}"
		}
		fmt.Fprintf(&config, "  - {job_name: %s, static_configs: [{targets: [%s]%s}]}\n", j.name, strings.Join(j.targets, ", "), labels)
		targets += len(j.targets)
	}
	s.Must(testenv.WriteFile(dir, "prometheus.yaml", []byte(config.String())))
	s.Must(testenv.WriteFile(dir, "rules.yaml", rules))
	address, err := shared.Address()
	s.Must(err)
	path, err := exec.LookPath("prometheus")
	s.Must(err)
	process, err := (&testenv.Program{Path: path}).Start("--config.file="+dir+"/prometheus.yaml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+address)
	s.Must(err)
	s.Cleanup(func() {
		process.Kill()
		if s.Failed() {
			s.Logf("the last lines of Prometheus's log:\n%s", process.Stderr.Tail(10))
		}
	})
	client, err := api.NewClient(api.Config{Address: "http://" + address})
	s.Must(err)
	p := &server{promv1.NewAPI(client), s, time.Now()}
	s.Until(func(ctx context.Context) error {
		up, err := p.instant(ctx, "up == 1")
		if err == nil && len(up) != targets {
			err = fmt.Errorf("%d of %d targets were scraped: %s", len(up), targets, process.Stderr.Tail(3))
		}
		return err
	})
	return p
}

// instant returns a query's current result, without samples that are NaN.
func (p *server) instant(ctx context.Context, query string) (model.Vector, error) {
	value, warnings, _, err := p.Query(ctx, query, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("%s: %q", query, warnings)
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("%s returns a %s", query, value.Type())
	}
	var numbers model.Vector
	for _, sample := range vector {
		if !math.IsNaN(float64(sample.Value)) {
			numbers = append(numbers, sample)
		}
	}
	return numbers, nil
}

// since returns a query's result for every second since the start, without samples that are NaN.
func (p *server) since(ctx context.Context, query string) (model.Matrix, error) {
	value, warnings, _, err := p.QueryRange(ctx, query, promv1.Range{Start: p.started, End: time.Now(), Step: time.Second})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("%s: %q", query, warnings)
	}
	var numbers model.Matrix
	for _, stream := range value.(model.Matrix) {
		kept := &model.SampleStream{Metric: stream.Metric}
		for _, pair := range stream.Values {
			if !math.IsNaN(float64(pair.Value)) {
				kept.Values = append(kept.Values, pair)
			}
		}
		if len(kept.Values) > 0 {
			numbers = append(numbers, kept)
		}
	}
	return numbers, nil
}

// returns waits until a query returns data, and returns this data.
func (p *server) returns(query string) model.Vector {
	p.s.Helper()
	var vector model.Vector
	p.s.Until(func(ctx context.Context) (err error) {
		if vector, err = p.instant(ctx, query); err == nil && len(vector) == 0 {
			err = errors.New(query + " returns nothing")
		}
		return err
	})
	return vector
}
