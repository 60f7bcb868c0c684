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
	// cutEvery is how long a watch is let live.
	cutEvery = time.Second
	// refusedFor is how long writes are refused: eleven or twelve tries, with the
	// flags as they are by default.
	refusedFor = 40 * time.Second
	// atOnceAgain is how soon a new key set comes where the back-off's own wait is
	// 17 s and more by then.
	atOnceAgain = 5 * time.Second
)

// While writes are refused, watches that are cut, and lists that fail now and
// then, are no reason to try more often: the back-off grows as if the watch were
// whole. New keys end it, and so does a remote that was down and is back.
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
	w.pass(began.Add(refusedFor))
	stop()
	for _, r := range all {
		writes, normal := r.writes(began), whole[r.code].writes(began)
		t.Logf("%s: %d writes, %d requests", r.name, writes, len(r.Requests()))
		if normal < 5 {
			t.Errorf("%s was written %d times, which is nothing to compare with", whole[r.code].name, normal)
		}
		most := normal + normal/2 + 1
		if r.severed { // reads are cut as well now and then, and the remote is reached again: once in 30 s that ends the back-off
			most = 2*normal + 1
		}
		if writes > most {
			t.Errorf("%s was written %d times, with a whole watch %d times", r.name, writes, normal)
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

// refuser is a remote that refuses all writes.
type refuser struct {
	*outpost
	name string
	code int
	// cut ends each watch after a second; severed breaks all connections each
	// second; lists fails one list in three.
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

// writes is how many came since then.
func (r *refuser) writes(since time.Time) (n int) {
	for _, request := range r.Requests() {
		if request.Method == http.MethodPut && request.Came.After(since) {
			n++
		}
	}
	return n
}
