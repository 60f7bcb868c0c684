package regions

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestRetryAfter checks API servers that respond to all requests, or only to writes, with
// Retry-After. fernetcast must wait as long as that demands, which is a second or an hour, but no
// longer than the maximum backoff. Other remotes must not wait.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const highest, fault = 5 * time.Second, 8 * time.Second
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	w.join("iad")
	type late struct {
		*outpost
		code, seconds int
		// reads reports whether the server also rejects reads.
		reads bool
	}
	var all []late
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for _, seconds := range []int{1, 3600} {
			for _, reads := range []bool{false, true} {
				name := fmt.Sprintf("after-%d-%d-reads-%t", seconds, code, reads)
				all = append(all, late{w.outpost(name, "dfw"), code, seconds, reads})
			}
		}
	}
	run := w.run("--backoff-max", highest.String(), "--resync", "1h")
	seen := w.follow("iad")["iad"]
	for _, l := range all {
		w.arrived(l.history, keys)
		run.shows(l.region, "Synced", "")
	}
	before := map[string]int{}
	for _, l := range all {
		before[l.region] = len(l.Requests())
		l.Spoil(func(honest http.Handler) http.Handler { return busy(honest, l.code, l.seconds, l.reads) })
		l.Cut()
	}
	began := time.Now()
	first := w.rotate()
	w.within(testenv.Soon, seen, first)
	for _, l := range all {
		run.shows(l.region, "Unreachable", strconv.Itoa(l.code))
	}
	w.sleepUntil(began.Add(fault))
	for _, l := range all {
		requests, writes := l.Requests()[before[l.region]:], 0
		for _, r := range requests {
			if r.Method == http.MethodPut {
				writes++
			}
		}
		lasted := time.Since(began)
		pause := min(time.Duration(l.seconds)*time.Second, highest)
		// When the watch works again, fernetcast retries the remote immediately, so allow for a few
		// more writes.
		if most := int(lasted/pause) + 3; writes > most {
			t.Errorf("%s got %d writes in %v, want %d at most", l.region, writes, lasted, most)
		}
		if most := 5 * int(lasted/time.Second); len(requests) > most {
			t.Errorf("%s got %d requests in %v, want %d at most", l.region, len(requests), lasted, most)
		}
	}
	for _, l := range all {
		l.Spoil(nil)
	}
	ended := time.Now()
	for _, l := range all {
		if took := w.arrived(l.history, first.Keys).Sub(ended); took > highest+time.Second {
			t.Errorf("%s got the keys %v after the fault ended, want within %v", l.region, took, highest)
		}
		run.shows(l.region, "Synced", "")
		l.only(keys, first.Keys)
		l.neverBack(keys, first.Keys)
	}
}

// busy returns a handler that responds to every write with the given code and Retry-After. If reads
// is true, it responds to reads in the same way.
func busy(honest http.Handler, code, seconds int, reads bool) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && !reads {
			honest.ServeHTTP(answer, r)
			return
		}
		answer.Header().Set("Retry-After", strconv.Itoa(seconds))
		status(answer, code, metav1.Status{Message: "too much to do"})
	})
}
