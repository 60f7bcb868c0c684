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

// While an API server is down, etcd forgets all that the program's watch has
// not seen, so that the watch is answered 410 Gone: the source's, and a
// remote's. The next rotation is everywhere, by the watches alone.
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
		// A reflector whose watch ends in its first second begins all anew.
		w.pass(time.Now().Add(2 * time.Second))
		e.expire()
		line = append(line, w.rotate().Keys)
		w.equal(testenv.Soon, line[len(line)-1], names...)
		run.allShow("Synced", "", names...)
		run.stays()
	}
	// What is undone is mended, by the watch that came after.
	w.Must(remote.cluster.Delete(w.Ctx, w.NS))
	w.equal(testenv.Soon, line[len(line)-1], names...)
	for _, h := range seen {
		h.only(line[1:]...)
	}
}

// expiring is a cluster whose watches can be had answered 410.
type expiring struct {
	*testenv.Gateway
	w       *world
	cluster *testenv.Cluster
	// gone says that a watch was answered so.
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

// expire has the program's watch, when it is asked for again, find that all it
// has not seen is forgotten. It returns when the program was told so.
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
			return errors.New("no watch was answered 410")
		}
		return nil
	})
	e.Spoil(nil)
}

// answer is one of the API server's, which is looked at as it passes.
type answer struct {
	http.ResponseWriter
	e *expiring
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Write notes the event that ends a watch: its status is 200 by then.
func (a *answer) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("too old resource version")) {
		a.e.gone.Store(true)
	}
	return a.ResponseWriter.Write(p)
}
