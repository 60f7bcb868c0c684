package telemetry

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/utils/ptr"
)

// A metric describes all series with one name.
type metric struct {
	name, help *string
	labels     []string // sorted
}

func desc(name, help string, labels ...string) *metric {
	return &metric{ptr.To("fernetcast_" + name), &help, labels}
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
	requestsSent = desc("requests_total", "Requests sent to the remote with its current kubeconfig. The code is none without a response, and other for a code that API servers don't use.", "code", "method", "remote")
)

// withStatus returns a gatherer that combines a registry's metrics with those of a status. It
// stores no series, so no series remain when a remote is removed. A registry would copy, hash, and
// sort the status's series at each scrape. With 1,000 remotes, this would take most of a scrape's
// time.
func withStatus(registry prometheus.Gatherer, status func() mirror.Status) prometheus.GathererFunc {
	return func() ([]*dto.MetricFamily, error) {
		families, err := registry.Gather()
		s, st := series{}, status()
		s.source(st.Source)
		for _, r := range st.Remotes {
			s.remote(r)
		}
		families = slices.AppendSeq(families, maps.Values(s))
		slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
		return families, err
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
		s.counter(requestsSent, n, request.Code, request.Method, r.Name)
	}
}

// series contains the current values of metrics.
type series map[*metric]*dto.MetricFamily

// gauge adds a number, or nothing if value is nil.
func (s series) gauge(m *metric, value *int, labels ...string) {
	if value != nil {
		s.add(m, dto.MetricType_GAUGE, &dto.Metric{Gauge: &dto.Gauge{Value: ptr.To(float64(*value))}}, labels)
	}
}

func (s series) counter(m *metric, value int, labels ...string) {
	s.add(m, dto.MetricType_COUNTER, &dto.Metric{Counter: &dto.Counter{Value: ptr.To(float64(value))}}, labels)
}

// time adds a time in seconds since 1970, or nothing if t is nil.
func (s series) time(m *metric, t *time.Time, labels ...string) {
	if t != nil {
		s.add(m, dto.MetricType_GAUGE, &dto.Metric{Gauge: &dto.Gauge{Value: ptr.To(float64(t.UnixMilli()) / 1000)}}, labels)
	}
}

func (s series) add(m *metric, kind dto.MetricType, one *dto.Metric, labels []string) {
	f := s[m]
	if f == nil {
		f = &dto.MetricFamily{Name: m.name, Help: m.help, Type: &kind}
		s[m] = f
	}
	for i, value := range labels {
		one.Label = append(one.Label, &dto.LabelPair{Name: &m.labels[i], Value: &value})
	}
	f.Metric = append(f.Metric, one)
}
