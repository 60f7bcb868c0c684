package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/util/workqueue"
)

// Metrics provides the contents of /metrics: the current status, histograms over all
// remotes, the queue, and the metrics of Go and the process. Its methods are safe for
// concurrent use.
type Metrics struct {
	registry  *prometheus.Registry
	status    func() mirror.Status
	took, lag prometheus.Histogram
}

// NewMetrics returns the metrics of a process. Call it once. Each scrape calls status.
func NewMetrics(version string, status func() mirror.Status) *Metrics {
	registry, in := newRegistry(version)
	seconds := func(name, help string) prometheus.Histogram {
		return in.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300},
		})
	}
	return &Metrics{
		registry: registry, status: status,
		took: seconds("fernetcast_push_duration_seconds", "Time from the start of a remote's sync to the acknowledged write."),
		lag:  seconds("fernetcast_propagation_seconds", "Time from when a rotation was seen in the source to the acknowledged write in a remote."),
	}
}

// newRegistry returns a registry with the version and the metrics of Go and the process.
func newRegistry(version string) (*prometheus.Registry, promauto.Factory) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	in := promauto.With(registry)
	in.NewGauge(prometheus.GaugeOpts{
		Name: "fernetcast_build_info", Help: "Always 1. The labels are the versions of fernetcast and Go.",
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

// Queue returns a provider for the metrics of one queue.
func (m *Metrics) Queue() workqueue.MetricsProvider { return queueMetrics{promauto.With(m.registry)} }

// Handler serves the metrics as text. It omits metrics that cannot be collected.
func (m *Metrics) Handler() http.Handler { return handler(withStatus(m.registry, m.status)) }

func handler(metrics prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, DisableCompression: true})
}

// FilesMetrics provides the contents of /metrics for `fernetcast files`. Its methods are
// safe for concurrent use.
type FilesMetrics struct {
	registry *prometheus.Registry
	lag      prometheus.Histogram
}

// NewFilesMetrics returns the metrics of a process. Each scrape calls primary and
// lastMatch. primary returns the index of the key repository's primary, or 0 if there is
// none. lastMatch returns when the repository last matched the Secret, or the zero time if
// it never did.
func NewFilesMetrics(version string, primary func() int, lastMatch func() time.Time) *FilesMetrics {
	registry, in := newRegistry(version)
	in.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fernetcast_files_primary_index", Help: "Index of the primary key in the key repository. 0 if there is none.",
	}, func() float64 { return float64(primary()) })
	// Use 0 for never: an alert on a missing series does not fire.
	in.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fernetcast_files_last_match_timestamp_seconds", Help: "When the key repository last matched the Secret. 0 if it never did.",
	}, func() float64 {
		if at := lastMatch(); !at.IsZero() {
			return float64(at.UnixMilli()) / 1000
		}
		return 0
	})
	return &FilesMetrics{registry, in.NewHistogram(prometheus.HistogramOpts{
		Name: "fernetcast_files_propagation_seconds", Help: "Time from when a change was seen in the Secret until its primary key was in the key repository.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300},
	})}
}

// Arrived observes how long a change took to reach the key repository.
func (m *FilesMetrics) Arrived(took time.Duration) { m.lag.Observe(took.Seconds()) }

// Handler serves the metrics as text.
func (m *FilesMetrics) Handler() http.Handler { return handler(m.registry) }

// ProbeMetrics provides the contents of /metrics for `fernetcast probe`. Its methods are safe for
// concurrent use.
type ProbeMetrics struct {
	registry               *prometheus.Registry
	result, seconds, since *prometheus.GaugeVec
	run                    prometheus.Gauge
	accepted               map[[2]string]float64 // when the pair last had the verdict Accepted, in seconds since the epoch
}

// NewProbeMetrics returns the metrics of a process.
func NewProbeMetrics(version string) *ProbeMetrics {
	registry, in := newRegistry(version)
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return in.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, append([]string{"from", "to"}, labels...))
	}
	return &ProbeMetrics{
		registry: registry, accepted: map[[2]string]float64{},
		result:  gauge("fernetcast_probe_result", "1 for the result of the last token that region from issued and region to validated: accepted, refused, unreachable, failed, or no token.", "result"),
		seconds: gauge("fernetcast_probe_duration_seconds", "Time until the last result."),
		since:   gauge("fernetcast_probe_last_accepted_timestamp_seconds", "When region to last accepted a token from region from. 0 if it never did."),
		run:     in.NewGauge(prometheus.GaugeOpts{Name: "fernetcast_probe_last_run_timestamp_seconds", Help: "When a probe last signed in. 0 if none did."}),
	}
}

// Probed replaces the results of all pairs. If results is empty, every sign-in failed, and the
// previous results stay. Don't call it concurrently.
func (m *ProbeMetrics) Probed(results []mirror.Probe) {
	if len(results) == 0 {
		return
	}
	now := float64(time.Now().UnixMilli()) / 1000
	m.run.Set(now)
	for _, all := range []*prometheus.GaugeVec{m.result, m.seconds, m.since} {
		all.Reset()
	}
	for _, r := range results {
		pair := [2]string{r.From, r.To}
		if r.Verdict == mirror.Accepted {
			m.accepted[pair] = now
		}
		m.result.WithLabelValues(r.From, r.To, string(r.Verdict)).Set(1)
		m.seconds.WithLabelValues(r.From, r.To).Set(r.Seconds)
		m.since.WithLabelValues(r.From, r.To).Set(m.accepted[pair])
	}
}

// Handler serves the metrics as text.
func (m *ProbeMetrics) Handler() http.Handler { return handler(m.registry) }

// queueMetrics creates a queue's metrics with the names that Kubernetes' controllers use
// (k8s.io/component-base/metrics/prometheus/workqueue).
type queueMetrics struct{ in promauto.Factory }

var _ workqueue.MetricsProvider = queueMetrics{}

func (q queueMetrics) gauge(queue, name, help string) prometheus.Gauge {
	return q.in.NewGauge(prometheus.GaugeOpts{Subsystem: "workqueue", Name: name, Help: help, ConstLabels: prometheus.Labels{"name": queue}})
}

func (q queueMetrics) counter(queue, name, help string) prometheus.Counter {
	return q.in.NewCounter(prometheus.CounterOpts{Subsystem: "workqueue", Name: name, Help: help, ConstLabels: prometheus.Labels{"name": queue}})
}

func (q queueMetrics) histogram(queue, name, help string) prometheus.Histogram {
	return q.in.NewHistogram(prometheus.HistogramOpts{
		Subsystem: "workqueue", Name: name, Help: help, ConstLabels: prometheus.Labels{"name": queue},
		Buckets: prometheus.ExponentialBuckets(1e-5, 10, 9), // up to 1,000 s
	})
}

// NewDepthMetric implements [workqueue.MetricsProvider].
func (q queueMetrics) NewDepthMetric(name string) workqueue.GaugeMetric {
	return q.gauge(name, "depth", "Remotes that wait for a worker.")
}

// NewAddsMetric implements [workqueue.MetricsProvider].
func (q queueMetrics) NewAddsMetric(name string) workqueue.CounterMetric {
	return q.counter(name, "adds_total", "Remotes added to the queue.")
}

// NewLatencyMetric implements [workqueue.MetricsProvider].
func (q queueMetrics) NewLatencyMetric(name string) workqueue.HistogramMetric {
	return q.histogram(name, "queue_duration_seconds", "Time that a remote waited for a worker.")
}

// NewWorkDurationMetric implements [workqueue.MetricsProvider].
func (q queueMetrics) NewWorkDurationMetric(name string) workqueue.HistogramMetric {
	return q.histogram(name, "work_duration_seconds", "Duration of a remote's sync.")
}

// NewUnfinishedWorkSecondsMetric implements [workqueue.MetricsProvider].
func (q queueMetrics) NewUnfinishedWorkSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return q.gauge(name, "unfinished_work_seconds", "Total duration so far of the syncs in progress.")
}

// NewLongestRunningProcessorSecondsMetric implements [workqueue.MetricsProvider].
func (q queueMetrics) NewLongestRunningProcessorSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return q.gauge(name, "longest_running_processor_seconds", "Duration so far of the longest sync in progress.")
}

// NewRetriesMetric implements [workqueue.MetricsProvider].
func (q queueMetrics) NewRetriesMetric(name string) workqueue.CounterMetric {
	return q.counter(name, "retries_total", "Remotes added to the queue after a delay.")
}
