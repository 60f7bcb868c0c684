package kube

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// Each request counts by its method and the answer's code. A server can make a
// series of each code that HTTP knows, and of no other.
func TestRequestsAreCounted(t *testing.T) {
	codes := []int{200, 404, 404, 503, 799, 0, 999, 250}
	client := serve(t, 10*time.Second, func(w http.ResponseWriter, _ *http.Request) {
		code := codes[0]
		codes = codes[1:]
		if code == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(code)
	})
	secrets := client.Secrets(namespace)
	for n := len(codes); n > 1; n-- {
		_, _ = secrets.Get(t.Context(), name) // whatever comes of it
	}
	_, _ = secrets.Update(t.Context(), good(), "test")
	want := map[mirror.Request]int{
		{Method: "GET", Code: "200"}: 1, {Method: "GET", Code: "404"}: 2, {Method: "GET", Code: "503"}: 1,
		{Method: "GET", Code: "other"}: 2, {Method: "GET", Code: "none"}: 1, {Method: "PUT", Code: "other"}: 1,
	}
	if got := client.Requests(); !maps.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
}
