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

// inTime is how soon the program ends when it is told to: a pod that takes
// longer holds up its node's drain, and in the end is killed.
const inTime = 5 * time.Second

// SIGTERM comes in the middle of a push: while a write is on its way, and
// while its answer is. The program ends in time, the write is whole or was not
// made, and the next run goes on from there.
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
			t.Fatal("no write has come")
		}
		run.endsInTime()
		close(h.ended)
		// What was sent arrives, though nobody waits for the answer any more.
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

// held is a write that is under way when the program ends.
type held struct {
	t     *testing.T
	came  chan struct{}
	ended chan struct{}
	// answered says that the API server has had it, and the answer is held.
	answered bool
}

// hold is for [testenv.Gateway.Spoil].
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

// Remotes that have refused connections for a while are asked ever more
// seldom. The program does not wait for that when it is told to end.
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
	// Each waits at random: with many, one has just begun to.
	for i := range 40 {
		w.Must(testenv.WriteFile(w.Clusters, fmt.Sprintf("dead-%d.yaml", i), dead))
	}
	run := w.runShipped()
	w.equal(testenv.Soon, keys, "dfw")
	run.shows("dead-0", "Unreachable", "refused")
	w.pass(time.Now().Add(12 * time.Second)) // until the waits are at their longest
	run.endsInTime()
}

// endsInTime tells the program to end, and fails the test unless it does so well, and soon.
func (r *replica) endsInTime() {
	r.w.Helper()
	began := time.Now()
	r.w.Must(r.Terminate())
	ctx, cancel := context.WithTimeout(r.w.Ctx, testenv.Soon)
	defer cancel()
	code, err := r.Wait(ctx)
	r.w.Must(err)
	took := time.Since(began)
	r.w.Logf("it ended after %v", took)
	if code != 0 || took > inTime {
		r.w.Errorf("it ended with exit code %d after %v, want 0 within %v", code, took, inTime)
	}
}
