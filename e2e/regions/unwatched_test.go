package regions

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
)

const (
	// unwatchedTime is how long watches are broken, and unwatchedReads limits the reads in that
	// time. A fifth of these reads are due to the resync.
	unwatchedTime  = 20 * time.Second
	unwatchedReads = 75
	// unwatchedResync is the resync interval, at which remotes are read even if their watches work.
	unwatchedResync = 2 * time.Second
	// brokenWatchDelay limits how long a rotation takes to reach the remotes on a slow machine if
	// the source's watch delivers nothing. Usually, it takes at most a second.
	brokenWatchDelay = 3 * time.Second
)

// TestBrokenWatches checks remotes whose watches are broken, each in a different way. fernetcast
// must retry with backoff, show the actual state, repair drift, and log the problem once.
func TestBrokenWatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	line := []testenv.Repository{w.keys()}
	w.promote()
	kinds := append(brokenWatches(), kind{name: "403", on: aWatch, answer: code(http.StatusForbidden)})
	var all []*outpost
	for _, k := range kinds {
		all = append(all, w.outpost(k.name, hostileCluster))
	}
	run := w.runShipped("--resync", unwatchedResync.String())
	for i, o := range all {
		w.arrived(o.history, line[0])
		run.shows(o.region, "Synced", "")
		o.spoil(kinds[i])
	}
	w.sleepUntil(time.Now().Add(unwatchedTime))
	for _, o := range all {
		if reads, _ := o.requests(); reads > unwatchedReads {
			t.Errorf("%s: read %d times in %v, want at most %d", o.region, reads, unwatchedTime, unwatchedReads)
		} else {
			t.Logf("%s: %d reads", o.region, reads)
		}
		run.shows(o.region, "Synced", "")
	}
	for _, o := range all {
		w.Must(o.cluster.Edit(w.Ctx, o.ns, rival, func(s *corev1.Secret) { delete(s.Data, "0") }))
	}
	for _, o := range all {
		w.Until(func(ctx context.Context) error { return o.holds(ctx, line[0]) })
		run.shows(o.region, "Synced", "")
	}
	line = append(line, w.rotate().Keys)
	for _, o := range all {
		w.arrived(o.history, line[1])
		run.shows(o.region, "Synced", "")
		run.saidOnce(o.region, "remote watch failed", "remote watch is forbidden")
	}
}

// saidOnce fails the test unless the log contains at least one of texts for the remote, and each at
// most once. The log must contain nothing else about the remote's watch.
func (r *replica) saidOnce(remote string, texts ...string) {
	r.w.Helper()
	said := map[string]int{}
	for line := range strings.Lines(r.Stderr.String()) {
		if !strings.Contains(line, `"remote":"`+remote+`"`) || !strings.Contains(line, "watch") {
			continue
		}
		at := slices.IndexFunc(texts, func(text string) bool { return strings.Contains(line, text) })
		if at < 0 {
			r.w.Errorf("unexpected line in the log: %s", line)
			continue
		}
		if said[texts[at]]++; said[texts[at]] > 1 {
			r.w.Errorf("repeated line in the log: %s", line)
		}
	}
	if len(said) == 0 {
		r.w.Errorf("%s: the log does not report the broken watch", remote)
	}
}

// holds returns nil if the remote's Secret has exactly these keys.
func (o *outpost) holds(ctx context.Context, keys testenv.Repository) error {
	return o.cluster.Holds(ctx, o.ns, keys)
}

// TestBrokenSourceWatch checks that however the source's watch is broken, each rotation reaches the
// remotes within about a second, and the problem is logged once.
func TestBrokenSourceWatch(t *testing.T) {
	t.Parallel()
	for _, k := range append(brokenWatches(), kind{name: "403", on: aWatch, answer: code(http.StatusForbidden)}) {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			w, run, _, gateway := gatedSource(t)
			seen := w.follow(remotes...)
			gateway.Spoil(k.spoil)
			gateway.Cut()
			w.sleepUntil(time.Now().Add(2 * time.Second))
			var sets []testenv.Repository
			for range 3 {
				rotation := w.rotate()
				sets = append(sets, rotation.Keys)
				for _, h := range seen {
					w.within(brokenWatchDelay, h, rotation)
				}
			}
			run.allShow("Synced", "", remotes...)
			for _, h := range seen {
				h.only(sets...)
			}
			const warning = "source watch failed"
			if said := strings.Count(run.Stderr.String(), warning); said != 1 {
				t.Errorf("%d lines of the log contain %q, want 1", said, warning)
			}
		})
	}
}

// gatedSource is like newSynced, except that fernetcast reaches the main region through a gateway.
func gatedSource(t *testing.T) (*world, *replica, testenv.Repository, *testenv.Gateway) {
	t.Helper()
	gateway, err := shared.Cluster(mainRegion).Gateway()
	testenv.Must(t, err)
	t.Cleanup(gateway.Close)
	w, run, keys := newSynced(t, func(w *world) *replica {
		built := w.Shipped()
		return w.runProgram(built.With(w.flagsVia(gateway.URL())...), "--resync", "1h")
	})
	return w, run, keys, gateway
}

// TestWithoutBookmarks checks a proxy that drops bookmarks in front of the source or a remote.
// Everything must work as usual: fernetcast must also trust a watch that lacks the bookmark at the
// end of a streaming list.
func TestWithoutBookmarks(t *testing.T) {
	t.Parallel()
	var dropped atomic.Int32
	drop := func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if requestOf(r) == aWatch {
				w = &withoutBookmarks{ResponseWriter: w, dropped: func() { dropped.Add(1) }}
			}
			honest.ServeHTTP(w, r)
		})
	}
	source, err := shared.Cluster(mainRegion).Gateway()
	testenv.Must(t, err)
	t.Cleanup(source.Close)
	source.Spoil(drop)
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	o := w.outpost("dropping", hostileCluster)
	o.Spoil(drop)
	built := w.Shipped()
	run := w.runProgram(built.With(w.flagsVia(source.URL())...), "--resync", "1h", "--backoff-max", "1s")
	for range 2 {
		w.arrived(o.history, keys)
		run.shows(o.region, "Synced", "")
		began := time.Now()
		w.Must(o.cluster.Edit(w.Ctx, o.ns, rival, func(s *corev1.Secret) { delete(s.Data, "0") }))
		w.Within(brokenWatchDelay-time.Since(began), func(ctx context.Context) error { return o.holds(ctx, keys) })
		rotation := w.rotate()
		w.within(brokenWatchDelay, o.history, rotation)
		keys = rotation.Keys
		w.sleepUntil(time.Now().Add(2 * time.Second)) // earlier drift would count as a contest
		if dropped.Load() == 0 {                      // an API server sends one bookmark per minute
			w.Within(2*time.Minute, func(context.Context) error {
				if dropped.Load() == 0 {
					return errors.New("no bookmark was dropped")
				}
				return nil
			})
		}
	}
	for _, text := range []string{"watch stalled", "watch failed"} {
		if strings.Contains(run.Stderr.String(), text) {
			t.Errorf("the log contains %q", text)
		}
	}
}
