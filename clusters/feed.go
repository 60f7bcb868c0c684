package clusters

import (
	"errors"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

func (f *Follower) watchAnswered() {
	f.mu.Lock()
	answered := f.answered
	f.mu.Unlock()
	answered()
}

// watchFailed has the remote read at the first failure: what changes from now
// on may not be told. A token that may not watch ends the watching.
func (f *Follower) watchFailed(err error, first bool) {
	if errors.Is(err, kube.ErrMayNotWatch) {
		f.mu.Lock()
		restart := f.restart
		f.mu.Unlock()
		restart(err)
		return
	}
	if first {
		// A text of the remote's may hold a piece of a key, and not all keys are known here.
		why := string(mirror.FailureOf(err).Reason)
		if own := (*kube.Refusal)(nil); errors.As(err, &own) {
			why = own.Error()
		}
		f.log.Info("the watch of the remote is broken, so its changes may be seen late", "reason", why)
		f.markStale()
	}
}

func (f *Follower) markStale() {
	f.view.MarkStale()
	f.notify()
}

func (f *Follower) notify() {
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()
	changed()
}

func (f *Follower) watched(secret *corev1.Secret, version string) {
	if f.view.Watched(secret, version) {
		f.notify()
	}
}

// store is where the reflector puts what it sees. It never fails: the reflector
// would log the whole Secret.
type store struct{ f *Follower }

func (s store) Add(obj any) error    { return s.Update(obj) }
func (s store) Resync() error        { return nil }
func (s store) Update(obj any) error { return s.put(obj, false) }
func (s store) Delete(obj any) error { return s.put(obj, true) }

func (s store) put(obj any, deleted bool) error {
	secret, ok := obj.(*corev1.Secret)
	switch {
	case !ok:
	case deleted:
		s.f.watched(nil, secret.ResourceVersion) // of the deletion
	default:
		s.f.watched(secret, secret.ResourceVersion)
	}
	return nil
}

// Replace implements [cache.ReflectorStore]. A list holds the one Secret, or none.
func (s store) Replace(list []any, version string) error {
	if len(list) > 0 {
		return s.Update(list[0])
	}
	s.f.watched(nil, version)
	return nil
}
