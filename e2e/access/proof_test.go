package access

import (
	"net/http"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// If a remote already has the keys, that doesn't prove that run works. So join waits for a write by
// run, which doesn't count as repaired drift.
func TestJoinProvesThatRunWorks(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	s.exits(0, "push")
	r := s.exits(1, s.joinArgs("sjc", "dfw", "--wait", "3s")...)
	s.says(r.Stderr, "dfw has joined but is not Synced: Behind", "join requested a write", "is fernetcast running in the main region?")
	address := s.runs("sjc")
	s.says(s.join("sjc", "dfw").Stdout, "dfw is Synced")
	s.Must(s.cluster("dfw").Holds(s.Ctx, s.NS, keys))
	metrics, err := testenv.Get(s.Ctx, "http://"+address+"/metrics")
	s.Must(err)
	s.says(string(metrics), `fernetcast_drift_repaired_total{remote="dfw"} 0`)
}

// If join times out while it reads a slow remote, it reports the remote's last response.
func TestJoinKeepsTheLastReason(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	gateway := s.gateways("iad")[0]
	gateway.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(300 * time.Millisecond)
			honest.ServeHTTP(w, r)
		})
	})
	r := s.exits(1, "join", "iad", "--remote-context", "iad", "--server", gateway.URL(), "--yes", "--wait", "2100ms")
	s.says(r.Stderr, "iad has joined but is not Synced: Behind its Secret is missing")
}
