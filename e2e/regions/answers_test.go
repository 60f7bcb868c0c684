package regions

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// gated is like newSynced, except that fernetcast reaches dfw through a gateway.
func gated(t *testing.T, args ...string) (*world, *replica, testenv.Repository, *testenv.Gateway) {
	t.Helper()
	gateway, err := shared.Cluster("dfw").Gateway()
	testenv.Must(t, err)
	t.Cleanup(gateway.Close)
	w, run, keys := newSynced(t, func(w *world) *replica {
		w.joinAs("dfw", testenv.Access{Role: testenv.RemoteRole, Server: gateway.URL()})
		return w.run(args...)
	})
	return w, run, keys, gateway
}

// TestLostAnswer checks that fernetcast doesn't repeat a write whose response is lost. Instead, it
// must send a single read, which shows that the write succeeded.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*http.Request){
		// Severing the connection also ends the watch, which must restart.
		"connection": testenv.Sever,
		// HTTP/2 can abort one stream while the watch continues.
		"stream": func(*http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, run, keys, gateway := gated(t, "--resync", "1h")
			seen := w.follow(remotes...)
			before := len(gateway.Requests())
			var lost atomic.Bool
			gateway.Spoil(func(honest http.Handler) http.Handler {
				return http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPut && lost.CompareAndSwap(false, true) {
						if r.ProtoMajor != 2 {
							t.Errorf("the write used HTTP/%d, want HTTP/2 as with an API server", r.ProtoMajor)
						}
						honest.ServeHTTP(httptest.NewRecorder(), r)
						lose(r)
						return
					}
					honest.ServeHTTP(answer, r)
				})
			})
			rotation := w.rotate()
			w.equal(testenv.Soon, rotation.Keys, remotes...)
			run.logs(`"msg":"remote is Unreachable"`)
			run.allShow("Synced", "", remotes...)
			w.sleepUntil(time.Now().Add(time.Second)) // a repeated write would arrive within this second
			run.allShow("Synced", "", remotes...)
			var more []testenv.Request
			for _, r := range gateway.Requests()[before+1:] {
				if !r.Watch {
					more = append(more, r)
				}
			}
			if len(more) > 1 {
				t.Errorf("the lost response caused %d more requests, want at most one: %+v", len(more), more)
			}
			for _, h := range seen {
				h.only(rotation.Keys)
				h.neverBack(keys, rotation.Keys)
			}
		})
	}
}
