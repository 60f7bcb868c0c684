package model_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// feed is the client that one watcher uses to read a cluster. Its GETs block until the story serves
// them. Its watch delivers only the events that the story lets through.
type feed struct {
	world   *world
	cluster *cluster
	// at is the last version that the watch has delivered.
	at int
	// stale makes the next list as old as possible, as if the API server's watch cache were
	// outdated.
	stale  bool
	broken bool
	stream *stream // nil if there is no watch
	// seen is the Secret that the watcher believes to be current. known is the version in
	// the last response to a GET or a write, or 0 if the Secret was absent.
	seen  *corev1.Secret
	known int
}

var (
	errDown      = apierrors.NewServiceUnavailable("down")
	errForbidden = apierrors.NewForbidden(resource, secretName, errors.New("not yours"))
	errCut       = &url.Error{Op: "Put", URL: "https://cut", Err: io.ErrUnexpectedEOF}
)

// Get implements [watcher.Secrets].
func (f *feed) Get(ctx context.Context, _ string) (*corev1.Secret, error) {
	s, err := f.world.ask(ctx, "GET "+f.cluster.name, nil, f.cluster.get)
	f.answered(s, err)
	return s, err
}

func (f *feed) answered(s *corev1.Secret, err error) {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	if err == nil || apierrors.IsNotFound(err) {
		f.known, _ = strconv.Atoi(version(s))
	}
}

// List implements [watcher.Secrets]. As with an API server's watch cache, the response can be old,
// but not older than the version that the reflector already had.
func (f *feed) List(_ context.Context, _ string, opts metav1.ListOptions) (*corev1.SecretList, error) {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	if f.broken {
		return nil, errDown
	}
	at := f.cluster.version
	if from, _ := strconv.Atoi(opts.ResourceVersion); f.stale && from > 0 {
		at = from
	}
	list := &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(at)}}
	if there := f.cluster.at(at); there != nil {
		list.Items = append(list.Items, *there)
	}
	return list, nil
}

// Watch implements [watcher.Secrets]. The watch starts after the version in opts.
func (f *feed) Watch(_ context.Context, _ string, opts metav1.ListOptions) (watch.Interface, error) {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	if f.broken {
		return nil, errDown
	}
	f.stream = &stream{events: make(chan watch.Event, 2)}
	f.at, _ = strconv.Atoi(opts.ResourceVersion)
	return f.stream, nil
}

// bring makes the watch deliver its next event. It returns false if there is no event or no watch.
func (f *feed) bring() bool {
	next, ok := f.cluster.after(f.at)
	if !ok || f.stream == nil || f.broken || f.stream.full() {
		return false
	}
	kind := watch.Modified
	switch {
	case next.deleted:
		kind = watch.Deleted
	case f.cluster.at(f.at) == nil:
		kind = watch.Added
	}
	f.at = next.version
	f.stream.events <- watch.Event{Type: kind, Object: next.secret}
	f.world.settle()
	if at, err := strconv.Atoi(version(f.seen)); err == nil && at < f.known {
		f.world.breaks(rightView, "the watch of %s went back to version %d, behind %d, which is known", f.cluster.name, at, f.known)
	}
	return true
}

// cut ends the watch. If expired is true, the client must list again. Otherwise, it can resume the
// watch.
func (f *feed) cut(expired bool) {
	if f.stream == nil {
		return
	}
	if expired && !f.stream.full() {
		gone := apierrors.NewResourceExpired("compacted").Status()
		f.stream.events <- watch.Event{Type: watch.Error, Object: &gone}
	}
	close(f.stream.events)
	f.stream = nil
	f.world.settle()
}

// stream is a watch that has no goroutine. Its Stop does nothing.
type stream struct{ events chan watch.Event }

// full reports whether the client no longer reads the watch. It has then ended the watch and is
// about to start another.
func (s *stream) full() bool { return len(s.events) == cap(s.events) }

func (s *stream) Stop()                          {}
func (s *stream) ResultChan() <-chan watch.Event { return s.events }
