package regions

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"
	"time"
)

// TestUnasked checks a remote without HTTP/2 that answers each write correctly, and then sends the
// newest staged key, unsolicited, on the idle connection. The remote must be Synced, and no output
// may contain the key.
func TestUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	o := w.outpost("unasked", hostileCluster)
	sent := make(chan struct{}, 16)
	o.Age(true)
	o.Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if requestOf(r) != aWrite {
				honest.ServeHTTP(rw, r)
				return
			}
			kept := httptest.NewRecorder()
			honest.ServeHTTP(kept, r)
			answer, err := httputil.DumpResponse(kept.Result(), true)
			if err != nil {
				t.Error(err)
			}
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = conn.Write(answer)
			time.Sleep(20 * time.Millisecond) // by then, the connection is idle
			source, err := w.Home.Secret(w.Ctx, w.NS)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 %s\r\n\r\n", source.Data["0"])
			_ = conn.Close()
			sent <- struct{}{}
		})
	})
	run := w.run()
	w.arrived(o.history, keys)
	for range 3 {
		w.arrived(o.history, w.rotate().Keys)
	}
	run.shows(o.region, "Synced", "")
	for range 4 {
		<-sent
	}
	w.Until(func(context.Context) error {
		if !strings.Contains(run.Stderr.String(), "Unsolicited response") {
			return fmt.Errorf("net/http has not detected the response")
		}
		return nil
	})
}
