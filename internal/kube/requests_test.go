package kube

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Requests are counted by method and status code. Only codes that API servers use get their own
// series, so a server can't create any number of them.
func TestRequestsAreCounted(t *testing.T) {
	codes := []int{200, 404, 404, 503, 418, 0, 999, 250}
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
		_, _ = secrets.Get(t.Context(), name) // the result doesn't matter
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

// Only the status code counts in the response to an event. The body is not decoded.
func TestEventAnswers(t *testing.T) {
	for body, header := range map[string]string{"<html>": "text/html", "no protobuf": mediaType, "{": "application/json"} {
		client := serveSource(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", header)
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(body))
		})
		if err := client.CreateEvent(t.Context(), &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: namespace}}); err != nil {
			t.Errorf("201 with %s: %v", header, err)
		}
	}
	client := serveSource(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write(encode(&metav1.Status{Code: http.StatusConflict}))
	})
	if err := client.CreateEvent(t.Context(), &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: namespace}}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("409: %v", err)
	}
}
