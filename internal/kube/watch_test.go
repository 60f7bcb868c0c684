package kube

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// TestEvents checks which watch events reach the caller.
func TestEvents(t *testing.T) {
	status := &metav1.Status{Code: http.StatusGone, Reason: metav1.StatusReasonExpired}
	bookmark := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "9"}}
	for name, tc := range map[string]struct {
		contentType string
		body        []byte
		want        watch.EventType // ERROR if the event is rejected, too
	}{
		"added":               {"", event(watch.Added, good()), watch.Added},
		"deleted":             {"", event(watch.Deleted, good()), watch.Deleted},
		"bookmark":            {"", event(watch.Bookmark, bookmark), watch.Bookmark},
		"expired":             {"", event(watch.Error, status), watch.Error},
		"another Secret":      {"", event(watch.Added, good(func(s *corev1.Secret) { s.Name = "other" })), watch.Error},
		"no identity":         {"", event(watch.Modified, bookmark), watch.Error},
		"a ConfigMap":         {"", event(watch.Added, &corev1.ConfigMap{}), watch.Error},
		"an error's Secret":   {"", event(watch.Error, good()), watch.Error},
		"two objects":         {"", append(binary.BigEndian.AppendUint32(nil, uint32(len(twoObjects()))), twoObjects()...), watch.Error},
		"a Status, added":     {"", event(watch.Added, status), watch.Error},
		"too many parts":      {"", event(watch.Added, good(func(s *corev1.Secret) { s.OwnerReferences = make([]metav1.OwnerReference, maxParts) })), watch.Error},
		"a large Status":      {"", event(watch.Error, &metav1.Status{Message: strings.Repeat("x", maxError)}), watch.Error},
		"too large":           {"", binary.BigEndian.AppendUint32(nil, 1<<31-1), watch.Error},
		"JSON under protobuf": {"", []byte(strings.Repeat("\n", 1<<16)), watch.Error},
		"no object":           {"", framed(watch.Added, nil), watch.Error},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, 10*time.Second, func(w http.ResponseWriter, r *http.Request) {
				answer(http.StatusOK, mediaType+";stream=watch", tc.body)(w, r)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})
			events, err := client.Secrets(namespace).Watch(t.Context(), "keystone-fernet-keys", metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer events.Stop()
			got := <-events.ResultChan()
			if got.Type != tc.want {
				t.Errorf("event %s %T", got.Type, got.Object)
			}
			if _, is := got.Object.(*corev1.Secret); is && tc.want == watch.Error {
				t.Error("an error comes with a Secret")
			}
		})
	}
}

// A watch's response must be in protobuf.
func TestWatchInOtherForms(t *testing.T) {
	for _, contentType := range []string{"application/json", "application/json;stream=watch", "text/html", "", "application/vnd.kubernetes.protobuf+json"} {
		client := serve(t, 10*time.Second, answer(http.StatusOK, contentType, bytes.Repeat([]byte("\n"), 1<<20)))
		_, err := client.Secrets(namespace).Watch(t.Context(), name, metav1.ListOptions{})
		var refusal *Refusal
		if !errors.As(err, &refusal) || !refusal.Reached() {
			t.Errorf("%q: error %v", contentType, err)
		}
	}
}

// A lost connection doesn't count as an answered watch.
func TestLostWatch(t *testing.T) {
	client := serve(t, time.Second, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := client.Secrets(namespace).Watch(t.Context(), name, metav1.ListOptions{}); err == nil {
		t.Error("no error")
	}
}

// A flood of events is read at a limited rate.
func TestFloodOfEvents(t *testing.T) {
	t.Parallel()
	one := event(watch.Modified, good())
	f := newFrameReader(context.WithValue(t.Context(), expectedKey{}, expected{namespace: namespace, name: name}), endless{one}, true)
	began, bytesRead := time.Now(), 0
	for buffer := make([]byte, 1<<16); time.Since(began) < 2*time.Second; {
		n, err := f.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		bytesRead += n
	}
	events := bytesRead / len(one)
	if most := int((watchBytes+remoteWatchBytes*time.Since(began).Seconds())/eventCost) + 2; events > most {
		t.Errorf("%d events in %v, want at most %d", events, time.Since(began), most)
	}
}

type endless struct{ event []byte }

func (endless) Close() error { return nil }

// Read implements [io.Reader]. A frameReader reads each event in two reads.
func (e endless) Read(p []byte) (int, error) {
	if len(p) == lengthBytes {
		return copy(p, e.event), nil
	}
	return copy(p, e.event[lengthBytes:]), nil
}

// A scripted server ends each watch after the duration lives.
type scripted struct {
	mu      sync.Mutex
	lives   time.Duration
	err     error
	watches int
}

func (*scripted) List(context.Context, string, metav1.ListOptions) (*corev1.SecretList, error) {
	return &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}, nil
}

// become changes how watches end, and resets the count.
func (s *scripted) become(err error, lives time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.lives, s.watches = err, lives, 0
}

func (s *scripted) Watch(context.Context, string, metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches++
	if s.err != nil {
		return nil, s.err
	}
	w := watch.NewFakeWithChanSize(1, false)
	w.Add(good()) // after an event, client-go assumes a good watch and doesn't wait
	time.AfterFunc(s.lives, w.Stop)
	return w, nil
}

// Watches that end early are retried with growing delays, even though client-go doesn't wait.
// Longer watches are reopened immediately.
func TestShortWatchesBackOff(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		server                 *scripted
		least, most            int // the number of WATCHes in ten minutes
		steady, fail, answered bool
	}{
		{"end at once", &scripted{}, 15, 60, false, true, true},
		{"live for a second", &scripted{lives: time.Second}, 15, 60, false, true, true},
		{"live for a minute", &scripted{lives: time.Minute}, 9, 11, false, false, true},
		{"are not answered", &scripted{err: errNoAnswer}, 150, 320, false, true, true}, // the numbers include the LISTs in between
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failed, steady, answered atomic.Int32
				lw := NewListWatch(tc.server, name, Reports{
					Answered: func() { answered.Add(1) }, Failed: func(error, bool) { failed.Add(1) }, Steady: func() { steady.Add(1) },
				})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				cache.NewReflectorWithOptions(lw, &corev1.Secret{}, cache.NewStore(cache.MetaNamespaceKeyFunc),
					cache.ReflectorOptions{}).RunWithContext(ctx)
				synctest.Wait()
				if n := tc.server.watches; n < tc.least && tc.server.err == nil || n > tc.most {
					t.Errorf("%d WATCHes, want %d to %d", n, tc.least, tc.most)
				}
				if (failed.Load() > 0) != tc.fail || (steady.Load() > 0) != tc.steady || (answered.Load() > 0) != tc.answered {
					t.Errorf("Answered was called %d times, Failed %d times, and Steady %d times", answered.Load(), failed.Load(), steady.Load())
				}
			})
		})
	}
}

// During an outage, failed attempts don't count as short watches. When the server is back,
// client-go's next attempt opens a watch.
func TestOutageAfterAShortWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &scripted{lives: time.Second}
		nothing := func() {}
		lw := NewListWatch(server, name, Reports{Answered: nothing, Failed: func(error, bool) {}, Steady: nothing})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go cache.NewReflectorWithOptions(lw, &corev1.Secret{}, cache.NewStore(cache.MetaNamespaceKeyFunc), cache.ReflectorOptions{
			Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Cap: 2 * time.Second, Steps: 100, Factor: 2, Jitter: 0.5},
		}).RunWithContext(ctx)
		synctest.Wait()
		server.become(syscall.ECONNREFUSED, 0)
		time.Sleep(5 * time.Minute)
		server.become(nil, time.Hour)
		time.Sleep(4 * time.Second) // client-go waits up to 3 s, plus the delay after one short watch
		cancel()
		synctest.Wait()
		if server.watches != 1 {
			t.Errorf("4 s after the outage there were %d WATCHes, want 1", server.watches)
		}
	})
}
