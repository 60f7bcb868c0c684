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

// event makes an event of a watch, from the Secret that is watched.
type event func(it *corev1.Secret) []byte

// events answers a watch with these, and ends it.
func events(list ...event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", inProtobuf+";stream=watch")
		secret := it(r)
		for _, one := range list {
			_, _ = w.Write(one(secret)) // whoever has had enough goes away
		}
	}
}

// flood answers a watch with events without end, each of a later version.
func flood(one event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", inProtobuf+";stream=watch")
		secret := it(r)
		for version, _ := strconv.Atoi(secret.ResourceVersion); ; version++ {
			secret.ResourceVersion = strconv.Itoa(version)
			if _, err := w.Write(one(secret)); err != nil {
				return
			}
		}
	}
}

// ahead answers a watch with an event of a version that will be long after, and
// stays open.
func ahead(one event) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		secret := it(r)
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

// drifted says that somebody took a key away.
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

// large is an event that is almost as large as one may be.
func large(s *corev1.Secret) []byte {
	s = s.DeepCopy()
	s.Annotations = map[string]string{"note": strings.Repeat("x", 2<<20-8<<10)}
	return same(watch.Modified)(s)
}

// withoutBookmarks is what a proxy hands on that takes a watch's bookmarks away.
type withoutBookmarks struct {
	http.ResponseWriter
	rest bytes.Buffer // of an event, what has come of it
	// dropped counts them.
	dropped func()
}

// Unwrap is for [http.ResponseController].
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
