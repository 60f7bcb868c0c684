package telemetry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// slowReader is a client that reads nothing until asked is closed.
type slowReader struct {
	*httptest.ResponseRecorder
	asked chan struct{}
}

func (r slowReader) Write(text []byte) (int, error) {
	r.asked <- struct{}{}
	<-r.asked
	return r.ResponseRecorder.Write(text)
}

// Clients that request the status and do not read it block only each other. The remaining
// connections stay available to probes.
func TestSlowReaders(t *testing.T) {
	handler := Server{Status: func() mirror.Status { return mirror.Status{} }, limits: few}.handler()
	ask := func(w http.ResponseWriter) {
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/statusz", nil))
	}
	var slow []slowReader
	var clients sync.WaitGroup
	for range few.conns / 4 {
		r := slowReader{httptest.NewRecorder(), make(chan struct{})}
		clients.Go(func() { ask(r) })
		<-r.asked
		slow = append(slow, r)
	}
	refused := httptest.NewRecorder()
	if ask(refused); refused.Code != http.StatusServiceUnavailable || refused.Header().Get("Retry-After") == "" {
		t.Errorf("one more than %d readers got %d, %v", few.conns/4, refused.Code, refused.Header())
	}
	for _, r := range slow {
		close(r.asked)
	}
	clients.Wait()
	next := httptest.NewRecorder()
	ask(next)
	for _, r := range append(slow, slowReader{next, nil}) {
		if r.Code != http.StatusOK || !json.Valid(r.Body.Bytes()) {
			t.Errorf("a reader got %d %q", r.Code, r.Body)
		}
	}
}

// The status is created at most once per second and never concurrently, no matter how many
// clients request it.
func TestStatusIsMadeOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made, now atomic.Int64
		d := document{make: statusJSON(func() mirror.Status {
			if now.Add(1) > 1 {
				t.Error("the document is created twice at the same time")
			}
			runtime.Gosched()
			now.Add(-1)
			return mirror.Status{Source: mirror.SourceStatus{ResourceVersion: fmt.Sprint(made.Add(1))}}
		})}
		for _, c := range []struct {
			after time.Duration
			want  int64
		}{{0, 1}, {freshFor - 1, 1}, {1, 2}, {0, 2}, {time.Hour, 3}} {
			time.Sleep(c.after)
			var clients sync.WaitGroup
			for range 300 {
				clients.Go(func() {
					text := d.latest().Bytes()
					var st mirror.Status
					if err := json.Unmarshal(text, &st); err != nil || st.Source.ResourceVersion != fmt.Sprint(c.want) {
						t.Errorf("%v: the status %.200q, want the one made as number %d", err, text, c.want)
					}
				})
			}
			clients.Wait()
		}
	})
}

// A document that takes long to create is reused for longer.
func TestSlowDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		d := document{make: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { made++; time.Sleep(time.Second) })}
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(freshFor) {
			d.latest()
		}
		if most := int(time.Minute/time.Second)/freshTimes + 1; made > most {
			t.Errorf("the document was created %d times in a minute, want at most %d", made, most)
		}
	})
}
