package regions

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// An event encodes a watch event about the watched Secret.
type event func(it *corev1.Secret) []byte

// events returns a handler that responds to a watch with the events in list, and then ends the
// watch.
func events(list ...event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", inProtobuf+";stream=watch")
		secret := requestedSecret(r)
		for _, one := range list {
			_, _ = w.Write(one(secret)) // the client may close the connection early
		}
	}
}

// flood returns a handler that keeps sending the same event, each time with a higher
// resourceVersion.
func flood(one event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", inProtobuf+";stream=watch")
		secret := requestedSecret(r)
		for version, _ := strconv.Atoi(secret.ResourceVersion); ; version++ {
			secret.ResourceVersion = strconv.Itoa(version)
			if _, err := w.Write(one(secret)); err != nil {
				return
			}
		}
	}
}

// ahead returns a handler that sends an event whose resourceVersion is far too high, and keeps the
// watch open.
func ahead(one event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		secret := requestedSecret(r)
		secret.ResourceVersion += "000000"
		events(func(*corev1.Secret) []byte { return one(secret) })(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

func same(kind watch.EventType) event {
	return func(s *corev1.Secret) []byte { return testenv.Event(kind, testenv.Encoded(s)) }
}

func bookmark(s *corev1.Secret) []byte {
	return testenv.Event(watch.Bookmark, testenv.Encoded(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: s.ResourceVersion}}))
}

// drifted encodes an event in which another writer removed a key.
func drifted(s *corev1.Secret) []byte {
	s = s.DeepCopy()
	delete(s.Data, "0")
	return same(watch.Modified)(s)
}

func foreign(*corev1.Secret) []byte {
	return testenv.Event(watch.Added, testenv.Encoded(anotherSecret()))
}

func errorEvent(code int) event {
	return func(*corev1.Secret) []byte {
		return testenv.Event(watch.Error, testenv.Encoded(testenv.Failure(code, metav1.Status{Message: "no more"})))
	}
}

func millionCauses(*corev1.Secret) []byte { return testenv.Event(watch.Error, statusOfAMillion()) }

func ownedEvent(s *corev1.Secret) []byte { return testenv.Event(watch.Modified, ownedByMany(s)) }

// large encodes an event of almost the maximum size that fernetcast accepts.
func large(s *corev1.Secret) []byte {
	s = s.DeepCopy()
	s.Annotations = map[string]string{"note": strings.Repeat("x", 2<<20-8<<10)}
	return same(watch.Modified)(s)
}

// withoutBookmarks passes on the response to a watch as a proxy that drops bookmarks would.
type withoutBookmarks struct {
	http.ResponseWriter
	rest bytes.Buffer // the incomplete last event
	// dropped is called for each dropped bookmark.
	dropped func()
}

// Unwrap lets [http.ResponseController] reach the underlying writer.
func (w *withoutBookmarks) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements [http.ResponseWriter].
func (w *withoutBookmarks) Write(p []byte) (int, error) {
	w.rest.Write(p)
	for w.rest.Len() >= 4 {
		frame := w.rest.Bytes()
		size := 4 + int(frame[0])<<24 + int(frame[1])<<16 + int(frame[2])<<8 + int(frame[3])
		if len(frame) < size {
			break
		}
		var e metav1.WatchEvent
		if err := e.Unmarshal(frame[4:size]); err != nil {
			return 0, err
		}
		if frame = w.rest.Next(size); e.Type == string(watch.Bookmark) {
			w.dropped()
		} else if _, err := w.ResponseWriter.Write(frame); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
