package regions

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// TestCompacted compacts etcd while an API server is down, so that the restarted watch gets 410
// Gone. It does this to the source's watch and to a remote's. Afterward, the watches must deliver
// the next rotation without the help of a resync.
func TestCompacted(t *testing.T) {
	w, names := newApart(t)
	line := []testenv.Repository{w.keys()}
	w.promote()
	source, remote := w.expiring(apartMain), w.expiring(apartRemote)
	w.joinAs(apartRemote, testenv.Access{Role: testenv.RemoteRole, Server: remote.URL()})
	w.join("dfw")
	built := w.Raced()
	run := w.runProgram(built.With(w.flagsVia(source.URL())...), "--resync", "1h", "--request-timeout", "1m")
	w.equal(testenv.Soon, line[0], names...)
	run.allShow("Synced", "", names...)
	seen := w.follow("dfw")
	for _, e := range []*expiring{source, remote} {
		line = append(line, w.rotate().Keys)
		w.equal(testenv.Soon, line[len(line)-1], names...)
		// If a watch ends within a second after its start, the reflector lists again, and never
		// gets the 410. So let the watches become older.
		w.sleepUntil(time.Now().Add(2 * time.Second))
		e.expire()
		line = append(line, w.rotate().Keys)
		w.equal(testenv.Soon, line[len(line)-1], names...)
		run.allShow("Synced", "", names...)
		run.stays()
	}
	// The new watch must report a deletion.
	w.Must(remote.cluster.Delete(w.Ctx, w.NS))
	w.equal(testenv.Soon, line[len(line)-1], names...)
	for _, h := range seen {
		h.only(line[1:]...)
	}
}

// expiring is a cluster in which the test can make watches fail with 410.
type expiring struct {
	*testenv.Gateway
	w       *world
	cluster *testenv.Cluster
	// gone is set when a watch fails with 410.
	gone atomic.Bool
}

func (w *world) expiring(name string) *expiring {
	w.Helper()
	e := &expiring{w: w, cluster: shared.Cluster(name)}
	gateway, err := e.cluster.Gateway()
	w.Must(err)
	w.Cleanup(gateway.Close)
	e.Gateway = gateway
	return e
}

// expire makes fernetcast's watch resume from a version that etcd no longer has. It returns after
// fernetcast has received the error 410.
func (e *expiring) expire() {
	e.w.Helper()
	there := make(chan struct{})
	e.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			select {
			case <-there:
				honest.ServeHTTP(&answer{rw, e}, req)
			case <-req.Context().Done():
			}
		})
	})
	e.Cut()
	e.cluster.Kill()
	e.w.Must(e.cluster.Etcd.Compact(e.w.Ctx))
	e.w.Must(e.cluster.Restart(e.w.Ctx))
	close(there)
	e.w.Until(func(context.Context) error {
		if !e.gone.Load() {
			return errors.New("no watch got a 410")
		}
		return nil
	})
	e.Spoil(nil)
}

// answer passes on an API server's response and detects the error 410 in it.
type answer struct {
	http.ResponseWriter
	e *expiring
}

// Unwrap lets [http.ResponseController] reach the underlying writer.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Write detects the error event that ends a watch. It can't detect the error by the response's
// status, which is already 200.
func (a *answer) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("too old resource version")) {
		a.e.gone.Store(true)
	}
	return a.ResponseWriter.Write(p)
}
