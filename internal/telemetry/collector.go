package telemetry

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/ptr"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fernetcast_"+name, help, labels, nil)
}

var (
	sourceState = desc("source_state", "Always 1. The label is the source's current state.", "state")
	readable    = desc("source_readable", "1 if the last attempt to read the source succeeded, otherwise 0.")
	primary     = desc("source_primary_index", "Index of the source's primary key.")
	keys        = desc("source_keys", "Number of keys in the source.")
	term        = desc("term", "Term of the main region that owns the source.")
	rotated     = desc("source_rotated_timestamp_seconds", "When the source's keys were last written.")

	remoteState  = desc("remote_state", "Always 1. The label is the remote's current state.", "remote", "state")
	behind       = desc("remote_generations_behind", "Rotations that the remote is behind. At 1, the next rotation breaks tokens there. At 2, they are broken. Absent if unknown.", "remote")
	synced       = desc("remote_last_synced_timestamp_seconds", "When this process last saw the source's keys in the remote. Absent in a standby region.", "remote")
	due          = desc("remote_credentials_due_timestamp_seconds", "When a third of the lifetime of the remote's token or client certificate is left, so it is due for renewal. Absent if it doesn't expire.", "remote")
	expiry       = desc("remote_credentials_expiry_timestamp_seconds", "When the remote's token or client certificate expires, whichever is earlier. Absent if neither expires.", "remote")
	pushes       = desc("pushes_total", "Writes sent to the remote, by result.", "remote", "result")
	repaired     = desc("drift_repaired_total", "Changes by other writers that were repaired in the remote.", "remote")
	requestsSent = desc("requests_total", "Requests sent to the remote with its current kubeconfig. The code is none without a response, and other for a code that API servers don't use.", "remote", "code", "method")
)

// statusCollector exports a status as metrics. It stores no series, so none remain when a
// remote is removed.
type statusCollector func() mirror.Status

// Describe implements [prometheus.Collector]. It sends no descriptions, so the registry
// checks each scrape separately.
func (statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (status statusCollector) Collect(to chan<- prometheus.Metric) {
	s, st := series{to}, status()
	s.source(st.Source)
	for _, r := range st.Remotes {
		s.remote(r)
	}
}

func (s series) source(src mirror.SourceStatus) {
	s.gauge(sourceState, ptr.To(1), string(src.State))
	good := 1
	if src.Stale || src.State == mirror.SourceUnread {
		good = 0
	}
	s.gauge(readable, &good)
	s.gauge(primary, src.Primary)
	if src.Primary != nil {
		s.gauge(keys, ptr.To(len(src.Keys)))
	}
	s.gauge(term, src.Term)
	s.time(rotated, src.RotatedAt)
}

func (s series) remote(r mirror.RemoteStatus) {
	s.gauge(remoteState, ptr.To(1), r.Name, string(r.State))
	s.gauge(behind, r.Behind, r.Name)
	s.time(synced, r.LastSynced, r.Name)
	s.time(due, r.CredentialsDue, r.Name)
	s.time(expiry, r.CredentialsExpire, r.Name)
	// Start at 0: increase() ignores the first value of a new series.
	for _, result := range []mirror.Result{mirror.ResultPushed, mirror.ResultConflict, mirror.ResultDenied, mirror.ResultUnreachable, mirror.ResultFailed} {
		s.counter(pushes, r.Counts.Pushes[result], r.Name, string(result))
	}
	s.counter(repaired, r.Counts.Repairs, r.Name)
	for request, n := range r.Counts.Requests {
		s.counter(requestsSent, n, r.Name, request.Code, request.Method)
	}
}

// series sends metrics to Prometheus.
type series struct{ to chan<- prometheus.Metric }

// gauge sends a number, or nothing if value is nil.
func (s series) gauge(d *prometheus.Desc, value *int, labels ...string) {
	if value != nil {
		s.send(d, prometheus.GaugeValue, float64(*value), labels)
	}
}

func (s series) counter(d *prometheus.Desc, value int, labels ...string) {
	s.send(d, prometheus.CounterValue, float64(value), labels)
}

// time sends a time in seconds since 1970, or nothing if t is nil.
func (s series) time(d *prometheus.Desc, t *time.Time, labels ...string) {
	if t != nil {
		s.send(d, prometheus.GaugeValue, float64(t.UnixMilli())/1000, labels)
	}
}

func (s series) send(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	m, err := prometheus.NewConstMetric(d, kind, value, labels...)
	if err != nil { // a label is not valid UTF-8
		m = prometheus.NewInvalidMetric(d, err)
	}
	s.to <- m
}
