package telemetry

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"k8s.io/utils/ptr"
)

// states lists all states of a remote.
var states = [...]mirror.State{
	mirror.StatePending, mirror.StateBehind, mirror.StateSynced, mirror.StateStandby, mirror.StateSelf, mirror.StateHeld,
	mirror.StateContested, mirror.StateDenied, mirror.StateUnreachable, mirror.StateFailed, mirror.StateMisconfigured,
}

func scrape(m *Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// ours returns the lines of fernetcast's own series.
func ours(text string) map[string]bool {
	lines := map[string]bool{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "fernetcast_") && !strings.HasPrefix(line, "fernetcast_build_info") {
			lines[strings.TrimSuffix(line, "\n")] = true
		}
	}
	return lines
}

// In each state, the metrics show the current status, and unknown values have no series.
func TestMetricsShowTheStatus(t *testing.T) {
	at := time.Unix(1_800_000_000, 500e6)
	for _, state := range states {
		st := mirror.Status{
			Source: mirror.SourceStatus{
				State: mirror.SourceMain, Term: ptr.To(3), Primary: ptr.To(8), RotatedAt: &at, Keys: keyset.Fingerprints{0: "a", 7: "b", 8: "c"},
			},
			Remotes: []mirror.RemoteStatus{
				{Name: "bare", State: state},
				{Name: "full", State: state, Behind: ptr.To(2), LastSynced: &at, CredentialsDue: &at, CredentialsExpire: &at, Counts: mirror.Counts{
					Pushes: map[mirror.Result]int{mirror.ResultPushed: 5, mirror.ResultDenied: 2}, Repairs: 1,
					Requests: map[mirror.Request]int{{Method: "GET", Code: "200"}: 9},
				}},
			},
		}
		want := map[string]bool{}
		for line := range strings.Lines(strings.ReplaceAll(`fernetcast_source_state{state="Main"} 1
fernetcast_source_readable 1
fernetcast_source_primary_index 8
fernetcast_source_keys 3
fernetcast_term 3
fernetcast_source_rotated_timestamp_seconds 1.8000000005e+09
fernetcast_remote_state{remote="bare",state="STATE"} 1
fernetcast_pushes_total{remote="bare",result="pushed"} 0
fernetcast_pushes_total{remote="bare",result="conflict"} 0
fernetcast_pushes_total{remote="bare",result="denied"} 0
fernetcast_pushes_total{remote="bare",result="unreachable"} 0
fernetcast_pushes_total{remote="bare",result="failed"} 0
fernetcast_drift_repaired_total{remote="bare"} 0
fernetcast_remote_state{remote="full",state="STATE"} 1
fernetcast_remote_generations_behind{remote="full"} 2
fernetcast_remote_last_synced_timestamp_seconds{remote="full"} 1.8000000005e+09
fernetcast_remote_credentials_due_timestamp_seconds{remote="full"} 1.8000000005e+09
fernetcast_remote_credentials_expiry_timestamp_seconds{remote="full"} 1.8000000005e+09
fernetcast_pushes_total{remote="full",result="pushed"} 5
fernetcast_pushes_total{remote="full",result="conflict"} 0
fernetcast_pushes_total{remote="full",result="denied"} 2
fernetcast_pushes_total{remote="full",result="unreachable"} 0
fernetcast_pushes_total{remote="full",result="failed"} 0
fernetcast_drift_repaired_total{remote="full"} 1
fernetcast_requests_total{code="200",method="GET",remote="full"} 9
`, "STATE", string(state))) {
			want[strings.TrimSuffix(line, "\n")] = true
		}
		m := NewMetrics("v1", func() mirror.Status { return st })
		got := ours(scrape(m))
		maps.DeleteFunc(got, func(line string, _ bool) bool {
			return strings.HasPrefix(line, "fernetcast_push_") || strings.HasPrefix(line, "fernetcast_propagation_")
		})
		for line := range want {
			if !got[line] {
				t.Errorf("%s: there is no %s", state, line)
			}
		}
		for line := range got {
			if !want[line] {
				t.Errorf("%s: there is %s", state, line)
			}
		}
		// No series remain when remotes are gone or the source cannot be read.
		for _, src := range []mirror.SourceStatus{{State: mirror.SourceUnread}, {State: mirror.SourceMain, Stale: true}} {
			st = mirror.Status{Source: src}
			if text := scrape(m); strings.Contains(text, "remote=") || strings.Contains(text, "_index") || !strings.Contains(text, "readable 0") {
				t.Errorf("after the remotes are gone:\n%s", text)
			}
		}
	}
}

// Histograms have the same series no matter how many remotes there are. Names and help
// texts pass Prometheus' own linter.
func TestHistogramsHaveNoRemote(t *testing.T) {
	many := mirror.Status{}
	m := NewMetrics("v1", func() mirror.Status { return many })
	queue := m.Queue()
	queue.NewDepthMetric("remotes")
	queue.NewAddsMetric("remotes")
	queue.NewLatencyMetric("remotes")
	queue.NewWorkDurationMetric("remotes")
	queue.NewUnfinishedWorkSecondsMetric("remotes")
	queue.NewLongestRunningProcessorSecondsMetric("remotes")
	queue.NewRetriesMetric("remotes")
	histograms := func() int { return strings.Count(scrape(m), "_bucket{") }
	before := histograms()
	for n := range 50 {
		many.Remotes = append(many.Remotes, mirror.RemoteStatus{Name: fmt.Sprint("r", n), State: states[n%len(states)]})
		m.Pushed(mirror.Push{Took: time.Duration(n) * time.Second, Lag: time.Hour})
	}
	if after := histograms(); after != before || before == 0 {
		t.Errorf("there are %d buckets, want %d", after, before)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("the linter reports %v, %v", problems, err)
	}
}

// With 1,000 remotes, each has at most 12 series, and a scrape is reused for a second.
func TestManyRemotes(t *testing.T) {
	at, made := time.Now(), 0
	st := mirror.Status{}
	for n := range 1000 {
		st.Remotes = append(st.Remotes, mirror.RemoteStatus{
			Name: fmt.Sprintf("r%03d", n), State: mirror.StateSynced, Behind: ptr.To(0), LastSynced: &at, CredentialsDue: &at, CredentialsExpire: &at,
		})
	}
	m := NewMetrics("v1", func() mirror.Status { made++; return st })
	text := scrape(m)
	if n := strings.Count(text, `remote="r500"`); n == 0 || n > 12 {
		t.Errorf("a remote has %d series", n)
	}
	d := document{make: m.Handler()}
	made = 0
	if first, second := d.latest(), d.latest(); made != 1 || first != second || !bytes.Contains(first.Bytes(), []byte("r999")) {
		t.Errorf("two concurrent scrapes created the document %d times", made)
	}
}

func BenchmarkScrape(b *testing.B) {
	at := time.Now()
	st := mirror.Status{}
	for n := range 1000 {
		st.Remotes = append(st.Remotes, mirror.RemoteStatus{
			Name: fmt.Sprintf("r%03d", n), State: mirror.StateSynced, Behind: ptr.To(0), LastSynced: &at, CredentialsDue: &at, CredentialsExpire: &at,
			Counts: mirror.Counts{Requests: map[mirror.Request]int{{Method: "GET", Code: "200"}: 9, {Method: "PUT", Code: "200"}: 1}},
		})
	}
	m := NewMetrics("v1", func() mirror.Status { return st })
	for b.Loop() {
		scrape(m)
	}
}
