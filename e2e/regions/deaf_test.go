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
	// deafResync is the resync interval. While watches are dead, it takes up to that long, plus a
	// fifth for jitter, to find a change.
	deafResync = 10 * time.Second
	deafLate   = deafResync + deafResync/5 + 5*time.Second
	// deafRewatch limits the time from the GET that finds a change until a new watch starts. It is
	// normally 5 s, and more on a slow machine.
	deafRewatch = 9 * time.Second
	// heard limits how long it takes to find a change without a resync.
	heard = 3 * time.Second
)

// TestDeafSource checks watches of the source that a load balancer keeps open although they deliver
// nothing. This happens to one watch or to every watch. Pings can't reveal the problem, because the
// connections work. Only the first rotation may wait for the resync.
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
				t.Errorf("a new watch started %v after a GET found a change", again)
			}
			late := 0
			for range 4 {
				rotation := w.rotate()
				if took := w.arrived(seen, rotation.Keys).Sub(rotation.Committed); took > heard {
					t.Logf("primary %d arrived after %v", rotation.Keys.Primary(), took)
					late++
				}
			}
			if late > 0 {
				t.Errorf("%d of four rotations arrived late, not counting the first", late)
			}
		})
	}
}

// TestDeafRemote checks a remote whose watch stays open but delivers nothing. The resync must find
// drift that the dead watch doesn't report, and the new watch must report later drift.
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
	w.drifts(o, keys, heard)

	watches.die(false)
	began := w.drifts(o, keys, deafLate)
	w.rewatched(o.Gateway, began)
	for range 3 {
		w.drifts(o, keys, heard)
	}
}

// drifts changes an outpost's copy, and checks that it is repaired within the limit.
func (w *world) drifts(o *outpost, keys testenv.Repository, limit time.Duration) (began time.Time) {
	w.Helper()
	began = time.Now()
	w.Must(o.cluster.Edit(w.Ctx, o.ns, rival, func(s *corev1.Secret) { s.Data["99"] = []byte(shared.Keys.New()) }))
	w.Within(limit, func(ctx context.Context) error { return o.cluster.Holds(ctx, o.ns, keys) })
	w.sleepUntil(time.Now().Add(2 * time.Second)) // otherwise, the next drift would be a contest
	return began
}

// TestLongProvedRemote checks that a remote isn't read at each resync while bookmarks prove that
// its watch works. When its watch dies, drift must still be found within 1.5 resyncs after the last
// bookmark.
func TestLongProvedRemote(t *testing.T) {
	testenv.Long(t)
	t.Parallel()
	const resync, bookmarks = time.Minute, 3
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	o := w.outpost("proved", "dfw")
	watches := &watches{}
	o.Spoil(watches.through)
	run := w.run("--resync", resync.String())
	w.arrived(o.history, keys)
	run.shows("proved", "Synced", "")
	before := len(o.Requests())
	w.sleepUntil(time.Now().Add(bookmarks * resync))
	reads := 0
	for _, r := range o.Requests()[before:] {
		if r.Method == http.MethodGet && !r.Watch {
			reads++
		}
	}
	if reads > 1 { // the first read can come before the first bookmark
		t.Errorf("%d reads in %d resyncs", reads, bookmarks)
	}
	watches.die(false)
	w.drifts(o, keys, resync+resync/2+5*time.Second)
}

// rewatched waits for a WATCH request after the given time, and returns when the request came.
func (w *world) rewatched(g *testenv.Gateway, after time.Time) (came time.Time) {
	w.Helper()
	w.Until(func(context.Context) error {
		for _, r := range g.Requests() {
			if r.Watch && r.Came.After(after) {
				came = r.Came
				return nil
			}
		}
		return errors.New("no new watch has started")
	})
	return came
}

// watches tracks the open watches through a gateway.
type watches struct {
	mu   sync.Mutex
	open []*atomic.Bool // for each watch, whether it is dead
	dead bool           // whether new watches are dead, too
}

// die makes the open watches drop all events and stay open. If every is true, it does the same to
// new watches.
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

// mayDie is the response to a watch. It passes on events until dead is set.
type mayDie struct {
	http.ResponseWriter
	dead *atomic.Bool
}

func (m *mayDie) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// Write drops p if the watch is dead.
func (m *mayDie) Write(p []byte) (int, error) {
	if m.dead.Load() {
		return len(p), nil
	}
	return m.ResponseWriter.Write(p)
}
