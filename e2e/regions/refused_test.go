package regions

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// cutEvery is how long a watch lasts before it is cut.
	cutEvery = time.Second
	// refusedFor is how long writes are rejected. With default flags, fernetcast makes 11 or 12
	// attempts in this time.
	refusedFor = 40 * time.Second
	// atOnceAgain limits how long a new key set takes to arrive after writes were rejected for
	// refusedFor. With backoff alone, it would take at least 17 s.
	atOnceAgain = 5 * time.Second
)

// TestRefusedWrites checks that broken watches and failed lists don't reset the backoff of rejected
// writes. New keys must reset it, and so must the return of a remote that was down.
func TestRefusedWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	wall, err := shared.Cluster("iad").Proxy()
	w.Must(err)
	t.Cleanup(wall.Close)
	w.joinAs("iad", testenv.Access{Role: testenv.RemoteRole, Server: wall.URL()})
	whole := map[int]*refuser{}
	var all []*refuser
	for _, r := range []*refuser{
		{name: "denied", code: http.StatusForbidden},
		{name: "denied-cut", code: http.StatusForbidden, cut: true},
		{name: "denied-severed", code: http.StatusForbidden, severed: true},
		{name: "denied-cut-lists", code: http.StatusForbidden, cut: true, lists: true},
		{name: "busy", code: http.StatusServiceUnavailable},
		{name: "busy-cut", code: http.StatusServiceUnavailable, cut: true},
		{name: "busy-severed", code: http.StatusServiceUnavailable, severed: true},
		{name: "busy-cut-lists", code: http.StatusServiceUnavailable, cut: true, lists: true},
	} {
		r.outpost = w.outpost(r.name, "dfw")
		if all = append(all, r); !r.cut && !r.severed {
			whole[r.code] = r
		}
	}
	run := w.run()
	seen := w.follow("iad")["iad"]
	for _, r := range all {
		w.arrived(r.history, keys)
		run.shows(r.name, "Synced", "")
	}
	w.arrived(seen, keys)

	for _, r := range all {
		r.Spoil(r.refuse)
		r.Cut()
	}
	w.Must(wall.Set(testenv.Refuse))
	began := time.Now()
	first := w.rotate()
	for _, r := range all {
		run.shows(r.name, map[int]string{http.StatusForbidden: "Denied", http.StatusServiceUnavailable: "Unreachable"}[r.code], "")
	}
	run.shows("iad", "Unreachable", "")
	ctx, stop := context.WithCancel(w.Ctx)
	defer stop()
	for _, r := range all {
		if r.severed {
			go r.sever(ctx)
		}
	}
	w.sleepUntil(began.Add(refusedFor))
	stop()
	for _, r := range all {
		writes, normal := r.writes(began), whole[r.code].writes(began)
		t.Logf("%s: %d writes, %d requests", r.name, writes, len(r.Requests()))
		if normal < 5 {
			t.Errorf("%s was written %d times, so there is nothing to compare with", whole[r.code].name, normal)
		}
		most := normal + normal/2 + 1
		if r.severed { // reads sometimes fail, too; a read that succeeds again may reset the backoff, once in 30 s
			most = 2*normal + 1
		}
		if writes > most {
			t.Errorf("%s was written %d times, but only %d times with an intact watch", r.name, writes, normal)
		}
	}

	w.Must(wall.Set(testenv.Pass))
	w.returned(seen, unpunished, first.Keys)
	for _, r := range all {
		r.Spoil(nil)
	}
	second := w.rotate()
	for _, r := range all {
		w.within(atOnceAgain, r.history, second)
		run.shows(r.name, "Synced", "")
	}
}

// refuser is a remote that rejects all writes.
type refuser struct {
	*outpost
	name string
	code int
	// If cut is true, each watch ends after cutEvery. If severed is true, all connections are
	// closed every cutEvery. If lists is true, every third list fails.
	cut, severed, lists bool
	listed              atomic.Int32
}

func (r *refuser) refuse(honest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		query := req.URL.Query()
		switch {
		case req.Method != http.MethodGet && r.code == http.StatusForbidden:
			status(w, r.code, metav1.Status{Message: `secrets "` + testenv.SecretName + `" is forbidden: User "x" cannot update resource "secrets" in API group "" in the namespace "y"`})
		case req.Method != http.MethodGet,
			r.lists && query.Has("fieldSelector") && !query.Has("watch") && r.listed.Add(1)%3 == 0:
			status(w, http.StatusServiceUnavailable, metav1.Status{Message: "busy"})
		case r.cut && query.Has("watch"):
			ctx, cancel := context.WithTimeout(req.Context(), cutEvery)
			defer cancel()
			honest.ServeHTTP(w, req.WithContext(ctx))
		default:
			honest.ServeHTTP(w, req)
		}
	})
}

func (r *refuser) sever(ctx context.Context) {
	tick := time.NewTicker(cutEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.Cut()
		case <-ctx.Done():
			return
		}
	}
}

// writes returns the number of PUT requests since the given time.
func (r *refuser) writes(since time.Time) (n int) {
	for _, request := range r.Requests() {
		if request.Method == http.MethodPut && request.Came.After(since) {
			n++
		}
	}
	return n
}
