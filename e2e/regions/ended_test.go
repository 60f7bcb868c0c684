package regions

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// shutdownTime limits how long fernetcast takes to exit. A pod that takes longer delays the drain
// of its node, and is eventually killed.
const shutdownTime = 5 * time.Second

// TestEndsInAPush sends SIGTERM during a push, before and after the API server executes the write.
// fernetcast must exit in time, the write must have taken effect either completely or not at all,
// and the next run must continue from there.
func TestEndsInAPush(t *testing.T) {
	w := newWorld(t)
	line := []testenv.Repository{w.keys()}
	w.promote()
	w.join("dfw", "iad")
	gateway, err := shared.Cluster("ord").Gateway()
	w.Must(err)
	t.Cleanup(gateway.Close)
	w.joinAs("ord", testenv.Access{Role: testenv.RemoteRole, Server: gateway.URL()})
	run := w.runShipped("--resync", "1h", "--request-timeout", "1m")
	w.equal(testenv.Soon, line[0], remotes...)
	seen := w.follow(remotes...)
	for _, answered := range []bool{false, true} {
		run.allShow("Synced", "", remotes...)
		h := &held{t: t, came: make(chan struct{}, 10), ended: make(chan struct{}), answered: answered}
		gateway.Spoil(h.hold)
		line = append(line, w.rotate().Keys)
		select {
		case <-h.came:
		case <-time.After(testenv.Soon):
			t.Fatal("no write has arrived")
		}
		run.endsInTime()
		close(h.ended)
		// The write takes effect although nothing waits for its response.
		w.equal(testenv.Soon, line[len(line)-1], "ord")
		gateway.Spoil(nil)
		run = w.runShipped("--resync", "1h", "--request-timeout", "1m")
		w.equal(testenv.Soon, line[len(line)-1], remotes...)
	}
	run.allShow("Synced", "", remotes...)
	for _, h := range seen {
		h.only(line[1:]...)
		h.stamped()
	}
}

// held blocks a write, so that it is in progress when fernetcast exits.
type held struct {
	t     *testing.T
	came  chan struct{}
	ended chan struct{}
	// answered reports whether the API server executes the write, so that only the response is
	// blocked.
	answered bool
}

// hold returns the handler that blocks the write, for [testenv.Gateway.Spoil].
func (h *held) hold(honest http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet {
			honest.ServeHTTP(rw, req)
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			h.t.Errorf("reading a write: %v", err)
		}
		ctx := req.Context()
		req = req.WithContext(context.WithoutCancel(ctx))
		req.Body = io.NopCloser(bytes.NewReader(body))
		if h.answered {
			honest.ServeHTTP(httptest.NewRecorder(), req)
		}
		h.came <- struct{}{}
		<-ctx.Done()
		<-h.ended
		if !h.answered {
			honest.ServeHTTP(httptest.NewRecorder(), req)
		}
	})
}

// TestEndsWhileRefused checks that fernetcast exits without waiting for the backoff of remotes that
// refuse connections.
func TestEndsWhileRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.join("dfw")
	nobody, err := shared.Address()
	w.Must(err)
	dead, err := shared.Cluster("ord").Kubeconfig(w.Ctx, testenv.Access{Namespace: w.NS, Role: testenv.RemoteRole, Server: "https://" + nobody})
	w.Must(err)
	// Because backoff has jitter, at least one of many remotes has always just started to wait.
	for i := range 40 {
		w.Must(testenv.WriteFile(w.Clusters, fmt.Sprintf("dead-%d.yaml", i), dead))
	}
	run := w.runShipped()
	w.equal(testenv.Soon, keys, "dfw")
	run.shows("dead-0", "Unreachable", "refused")
	w.sleepUntil(time.Now().Add(12 * time.Second)) // by then, the backoff has reached its maximum
	run.endsInTime()
}

// endsInTime sends SIGTERM, and fails the test unless fernetcast exits with 0 within shutdownTime.
func (r *replica) endsInTime() {
	r.w.Helper()
	began := time.Now()
	r.w.Must(r.Terminate())
	ctx, cancel := context.WithTimeout(r.w.Ctx, testenv.Soon)
	defer cancel()
	code, err := r.Wait(ctx)
	r.w.Must(err)
	took := time.Since(began)
	r.w.Logf("run exited after %v", took)
	if code != 0 || took > shutdownTime {
		r.w.Errorf("run exited with code %d after %v, want 0 within %v", code, took, shutdownTime)
	}
}
