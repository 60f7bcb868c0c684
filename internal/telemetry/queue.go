package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"k8s.io/client-go/util/workqueue"
)

// queueMetrics makes a queue's metrics, under the names that Kubernetes' own
// controllers have for them (k8s.io/component-base/metrics/prometheus/workqueue).
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
		Buckets: prometheus.ExponentialBuckets(1e-5, 10, 9), // to 1,000 s
	})
}

// NewDepthMetric implements [workqueue.MetricsProvider], as do the others.
func (q queueMetrics) NewDepthMetric(name string) workqueue.GaugeMetric {
	return q.gauge(name, "depth", "Remotes that wait for a worker.")
}

// NewAddsMetric counts what was added.
func (q queueMetrics) NewAddsMetric(name string) workqueue.CounterMetric {
	return q.counter(name, "adds_total", "Remotes that were added to the queue.")
}

// NewLatencyMetric observes the time in the queue, in seconds.
func (q queueMetrics) NewLatencyMetric(name string) workqueue.HistogramMetric {
	return q.histogram(name, "queue_duration_seconds", "How long a remote waited for a worker.")
}

// NewWorkDurationMetric observes the time of a sync, in seconds.
func (q queueMetrics) NewWorkDurationMetric(name string) workqueue.HistogramMetric {
	return q.histogram(name, "work_duration_seconds", "How long the sync of a remote took.")
}

// NewUnfinishedWorkSecondsMetric is the sum of the seconds of all syncs at work.
func (q queueMetrics) NewUnfinishedWorkSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return q.gauge(name, "unfinished_work_seconds", "How long the syncs that are at work have taken so far, together.")
}

// NewLongestRunningProcessorSecondsMetric is that of the longest one.
func (q queueMetrics) NewLongestRunningProcessorSecondsMetric(name string) workqueue.SettableGaugeMetric {
	return q.gauge(name, "longest_running_processor_seconds", "How long the longest sync that is at work has taken so far.")
}

// NewRetriesMetric counts what waits in a back-off, or for its next read.
func (q queueMetrics) NewRetriesMetric(name string) workqueue.CounterMetric {
	return q.counter(name, "retries_total", "Remotes that were added to the queue for later.")
}
