package regions

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
)

const (
	// deafResync is how often all is read with GET where watches are dead: that
	// long, and a fifth, a change can take to be found.
	deafResync = 10 * time.Second
	deafLate   = deafResync + deafResync/5 + 5*time.Second
	// deafRewatch is how soon after a GET has found news another watch begins: 5 s,
	// and some for a slow machine.
	deafRewatch = 9 * time.Second
	// heard is how soon a change is seen that does not wait for a resync.
	heard = 3 * time.Second
)

// A load balancer keeps a watch of the source open that is dead, or every
// watch, with good connections: no ping tells. The first rotation waits for the
// resync, and no other one does.
func TestDeafSource(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]bool{"one watch": false, "every watch": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			keys := w.keys()
			w.promote()
			w.join("dfw")
			gateway, err := w.Home.Gateway()
			w.Must(err)
			t.Cleanup(gateway.Close)
			watches := &watches{}
			gateway.Spoil(watches.through)
			built := w.Raced()
			run := w.runProgram(built.With(w.flagsVia(gateway.URL())...), "--resync", deafResync.String())
			w.equal(testenv.Soon, keys, "dfw")
			run.shows("dfw", "Synced", "")
			seen := w.follow("dfw")["dfw"]
			w.within(testenv.Soon, seen, w.rotate())

			watches.die(every)
			first := w.rotate()
			w.within(deafLate, seen, first)
			found := w.arrived(seen, first.Keys)
			if again := w.rewatched(gateway, first.Committed).Sub(found); again > deafRewatch {
				t.Errorf("another watch began %v after a GET had found news", again)
			}
			late := 0
			for range 4 {
				rotation := w.rotate()
				if took := w.arrived(seen, rotation.Keys).Sub(rotation.Committed); took > heard {
					t.Logf("primary %d came after %v", rotation.Keys.Primary(), took)
					late++
				}
			}
			if late > 0 {
				t.Errorf("%d rotations of four came late, beside the first", late)
			}
		})
	}
}

// The same of a remote: drift that its dead watch does not tell of is found by
// the resync, and what comes later by the watch that begins then.
func TestDeafRemote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	o := w.outpost("deaf", "dfw")
	watches := &watches{}
	o.Spoil(watches.through)
	run := w.run("--resync", deafResync.String(), "--backoff-max", "1s")
	w.arrived(o.history, keys)
	run.shows("deaf", "Synced", "")
	w.rewatched(o.Gateway, time.Time{})
	drifts := func(limit time.Duration) (began time.Time) {
		t.Helper()
		began = time.Now()
		w.Must(o.cluster.Edit(w.Ctx, o.ns, rival, func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) }))
		w.Within(limit, func(ctx context.Context) error { return o.cluster.Holds(ctx, o.ns, keys) })
		w.pass(time.Now().Add(2 * time.Second)) // the next one is no contest
		return began
	}
	drifts(heard)

	watches.die(false)
	began := drifts(deafLate)
	w.rewatched(o.Gateway, began)
	for range 3 {
		drifts(heard)
	}
}

// rewatched waits for a WATCH that came after a moment, and returns when it did.
func (w *world) rewatched(g *testenv.Gateway, after time.Time) (came time.Time) {
	w.Helper()
	w.Until(func(context.Context) error {
		for _, r := range g.Requests() {
			if r.Watch && r.Came.After(after) {
				came = r.Came
				return nil
			}
		}
		return errors.New("no other watch has begun")
	})
	return came
}

// watches are those that go through a gateway.
type watches struct {
	mu   sync.Mutex
	open []*atomic.Bool // whether each is dead
	dead bool           // new ones are, too
}

// die makes those that are open dead, and with every new ones as well: they
// stay open, and bring nothing.
func (s *watches) die(every bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = every
	for _, dead := range s.open {
		dead.Store(true)
	}
}

func (s *watches) through(honest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("watch") {
			dead := &atomic.Bool{}
			s.mu.Lock()
			dead.Store(s.dead)
			s.open = append(s.open, dead)
			s.mu.Unlock()
			w = &mayDie{w, dead}
		}
		honest.ServeHTTP(w, r)
	})
}

// mayDie is an answer that goes on until it is dead.
type mayDie struct {
	http.ResponseWriter
	dead *atomic.Bool
}

func (m *mayDie) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// Write loses what it gets where the watch is dead.
func (m *mayDie) Write(p []byte) (int, error) {
	if m.dead.Load() {
		return len(p), nil
	}
	return m.ResponseWriter.Write(p)
}
