package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// FilesMetrics is what /metrics of `fernetcast files` shows. Its methods may be
// called concurrently.
type FilesMetrics struct {
	registry *prometheus.Registry
	lag      prometheus.Histogram
}

// NewFilesMetrics makes the metrics of one process. Each scrape calls primary, the
// index of the key repository's primary, 0 for none, and lastMatch, when the
// repository was last seen equal to the Secret, zero for never.
func NewFilesMetrics(version string, primary func() int, lastMatch func() time.Time) *FilesMetrics {
	registry, in := newRegistry(version)
	in.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fernetcast_files_primary_index", Help: "The index of the primary key in the key repository; 0 for none.",
	}, func() float64 { return float64(primary()) })
	// 0 and not absent for never: an alert that is missing its series does not fire.
	in.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fernetcast_files_last_match_timestamp_seconds", Help: "When the key repository was last seen to have the Secret's keys; 0 for never.",
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

// Arrived observes a change that took so long.
func (m *FilesMetrics) Arrived(took time.Duration) { m.lag.Observe(took.Seconds()) }

// Handler serves the metrics as text.
func (m *FilesMetrics) Handler() http.Handler { return handler(m.registry) }
