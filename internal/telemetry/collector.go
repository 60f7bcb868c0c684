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
	sourceState = desc("source_state", "The source's present state, with the value 1.", "state")
	readable    = desc("source_readable", "Whether the last try to read the source succeeded.")
	primary     = desc("source_primary_index", "The index of the source's primary key.")
	keys        = desc("source_keys", "How many keys the source has.")
	term        = desc("term", "The term of the source's owner.")
	rotated     = desc("source_rotated_timestamp_seconds", "When the source's keys were last written.")

	remoteState  = desc("remote_state", "A remote's present state, with the value 1.", "remote", "state")
	behind       = desc("remote_generations_behind", "How many rotations a remote is behind. At 1 the next rotation breaks tokens there, at 2 they are broken.", "remote")
	synced       = desc("remote_last_synced_timestamp_seconds", "When a remote was last seen to have the source's keys.", "remote")
	expiry       = desc("remote_credentials_expiry_timestamp_seconds", "When the token or the certificate in a remote's kubeconfig expires.", "remote")
	pushes       = desc("pushes_total", "Writes that were sent to a remote, by how they ended.", "remote", "result")
	repaired     = desc("drift_repaired_total", "Changes by other writers that were undone at a remote.", "remote")
	requestsSent = desc("requests_total", "Requests that were sent to a remote, by method and by the answer's code.", "remote", "code", "method")
)

// statusCollector shows a status as metrics. It keeps no series of its own, so
// nothing stays of a remote that is gone.
type statusCollector func() mirror.Status

// Describe implements [prometheus.Collector]; without descriptions, each scrape is
// checked alone.
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
	s.time(expiry, r.CredentialsExpire, r.Name)
	// From 0 on: increase() does not see the birth of a counter.
	for _, result := range []mirror.Result{mirror.ResultPushed, mirror.ResultConflict, mirror.ResultDenied, mirror.ResultUnreachable, mirror.ResultFailed} {
		s.counter(pushes, r.Counts.Pushes[result], r.Name, string(result))
	}
	s.counter(repaired, r.Counts.Repairs, r.Name)
	for request, n := range r.Counts.Requests {
		s.counter(requestsSent, n, r.Name, request.Code, request.Method)
	}
}

// series is where collected values go.
type series struct{ to chan<- prometheus.Metric }

// gauge sends a number, and nothing if it is not known.
func (s series) gauge(d *prometheus.Desc, value *int, labels ...string) {
	if value != nil {
		s.send(d, prometheus.GaugeValue, float64(*value), labels)
	}
}

func (s series) counter(d *prometheus.Desc, value int, labels ...string) {
	s.send(d, prometheus.CounterValue, float64(value), labels)
}

// time sends a moment in seconds since 1970, and nothing where it is not known.
func (s series) time(d *prometheus.Desc, t *time.Time, labels ...string) {
	if t != nil {
		s.send(d, prometheus.GaugeValue, float64(t.UnixMilli())/1000, labels)
	}
}

func (s series) send(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	m, err := prometheus.NewConstMetric(d, kind, value, labels...)
	if err != nil { // a label that is no UTF-8
		m = prometheus.NewInvalidMetric(d, err)
	}
	s.to <- m
}
