package telemetry

import (
	"net/http"
	"runtime"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/util/workqueue"
)

// Metrics is what /metrics shows: the status of the moment, the histograms of all
// remotes together, the queue, and Go's and the process's own. Its methods may
// be called concurrently.
type Metrics struct {
	registry  *prometheus.Registry
	took, lag prometheus.Histogram
}

// NewMetrics makes the metrics of one process. Each scrape calls status.
func NewMetrics(version string, status func() mirror.Status) *Metrics {
	registry, in := newRegistry(version)
	registry.MustRegister(statusCollector(status))
	seconds := func(name, help string) prometheus.Histogram {
		return in.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300},
		})
	}
	return &Metrics{
		registry: registry,
		took:     seconds("fernetcast_push_duration_seconds", "Time from the begin of a remote's sync to the acknowledgement of its write."),
		lag:      seconds("fernetcast_propagation_seconds", "Time from when a rotation was seen in the source to the acknowledgement of its write at a remote."),
	}
}

// newRegistry makes the registry of one process, with Go's and the process's own
// metrics and the version.
func newRegistry(version string) (*prometheus.Registry, promauto.Factory) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	in := promauto.With(registry)
	in.NewGauge(prometheus.GaugeOpts{
		Name: "fernetcast_build_info", Help: "The version that runs; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}).Set(1)
	return registry, in
}

// Pushed observes a write.
func (m *Metrics) Pushed(p mirror.Push) {
	m.took.Observe(p.Took.Seconds())
	if p.Lag > 0 {
		m.lag.Observe(p.Lag.Seconds())
	}
}

// Queue makes the metrics of one queue.
func (m *Metrics) Queue() workqueue.MetricsProvider { return queueMetrics{promauto.With(m.registry)} }

// Handler serves the metrics as text. A part that cannot be collected is left out.
func (m *Metrics) Handler() http.Handler { return handler(m.registry) }

func handler(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, DisableCompression: true})
}
