package access

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// roomForCommand limits the memory of a command. check and renew can run in pods that have 128 MiB.
const roomForCommand = 60 << 20

// If a remote responds to one kind of request with a million values, no command uses much memory.
func TestMillionValues(t *testing.T) {
	s := newStage(t)
	s.fernetcast = s.Shipped().With("--namespace", s.NS, "--request-timeout", "5s").WithEnv("KUBECONFIG=" + s.kubeconfig)
	s.main("sjc")
	gateway := s.gateways("dfw")[0]
	join := []string{"join", "dfw", "--remote-context", "dfw", "--server", gateway.URL(), "--yes", "--self-renew", "--wait", "0"}
	s.exits(0, join...)
	clusters, tokens := s.directory()
	many := strings.Repeat("{},", 700_000) + "{}"
	for of, bomb := range map[string]string{
		"/cronjobs":               `{"kind":"CronJobList","apiVersion":"batch/v1","items":[{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[` + many + `]}}}}}}]}`,
		"/selfsubjectrulesreview": `{"kind":"SelfSubjectRulesReview","apiVersion":"authorization.k8s.io/v1","status":{"resourceRules":[` + many + `]}}`,
		"/serviceaccounts/":       `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","status":{"token":"x"},"spec":{"boundObjectRef":[` + many + `]}}`,
		"/rolebindings":           `{"kind":"RoleBindingList","apiVersion":"rbac.authorization.k8s.io/v1","items":[` + many + `]}`,
		"/namespaces/kube-system": `{"kind":"Namespace","apiVersion":"v1","metadata":{"uid":"x","ownerReferences":[` + many + `]}}`,
		"/":                       `{"kind":"Status","apiVersion":"v1","details":{"causes":[` + many + `]}}`,
	} {
		gateway.Spoil(func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, of) {
					honest.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, bomb) // the client may close the connection early
			})
		})
		for _, args := range [][]string{
			{"check", "dfw"}, join,
			{"renew", "dfw"}, {"renew", "--self", "--all", "--clusters", clusters, "--tokens", tokens},
			{"leave", "dfw", "--yes", "--dry-run"}, {"status"}, {"push"},
		} {
			if peak := s.peak(args...); peak > roomForCommand {
				t.Errorf("%s, with %s: %d MiB, want %d at most", args[0], of, peak>>20, roomForCommand>>20)
			}
		}
	}
}

// peak runs a command and returns its peak memory in bytes.
func (s *stage) peak(args ...string) (peak int64) {
	s.Helper()
	process, err := s.fernetcast.Start(args...)
	s.Must(err)
	for process.Running() {
		if _, now, err := process.Memory(); err == nil {
			peak = max(peak, now)
		}
		time.Sleep(time.Millisecond)
	}
	shared.Keys.NoLeaks(s.T, process.Stdout.String(), process.Stderr.String())
	s.Logf("%v: %d MiB", args, peak>>20)
	return peak
}
