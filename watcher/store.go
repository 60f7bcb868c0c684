package watcher

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// store is where the reflector puts what it sees. It never fails: the
// reflector would log the whole Secret.
type store[T any] struct{ w *Watcher[T] }

func (s store[T]) Add(obj any) error    { return s.Update(obj) }
func (s store[T]) Resync() error        { return nil }
func (s store[T]) Delete(obj any) error { s.put(obj, true); return nil }
func (s store[T]) Update(obj any) error { s.put(obj, false); return nil }

func (s store[T]) put(obj any, deleted bool) {
	secret, ok := obj.(*corev1.Secret)
	if !ok || secret.Name != s.w.name {
		return
	}
	version := secret.ResourceVersion // a deletion has one of its own
	if deleted {
		secret = nil
	}
	s.w.watched(secret, version, false)
}

func (s store[T]) Replace(list []any, version string) error {
	for _, obj := range list {
		if secret, ok := obj.(*corev1.Secret); ok && secret.Name == s.w.name {
			s.w.watched(secret, secret.ResourceVersion, true)
			return nil
		}
	}
	s.w.watched(nil, version, true)
	return nil
}

// watched takes what the watch brought. What is older than what is known lags,
// and is passed over; a whole list that is older may come from a cluster that
// was restored.
func (w *Watcher[T]) watched(secret *corev1.Secret, version string, whole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.read && newer(w.version, version) {
		if whole {
			w.markStale()
		}
		return
	}
	w.changes++
	w.missed = time.Time{}
	if whole {
		w.stale = false
	}
	w.set(secret, version)
}
