package clusters

import corev1 "k8s.io/api/core/v1"

// store is where the reflector puts what it sees, all of it Secrets. It never
// fails: the reflector would log the whole Secret.
type store struct{ f *Follower }

func (s store) Add(obj any) error { return s.Update(obj) }
func (s store) Resync() error     { return nil }
func (s store) Update(obj any) error {
	return s.seen(obj.(*corev1.Secret), obj.(*corev1.Secret).ResourceVersion)
}
func (s store) Delete(obj any) error { return s.seen(nil, obj.(*corev1.Secret).ResourceVersion) } // of the deletion

// Replace implements [cache.ReflectorStore]. A list holds the one Secret, or none.
func (s store) Replace(list []any, version string) error {
	if len(list) > 0 {
		return s.Update(list[0])
	}
	return s.seen(nil, version)
}

func (s store) seen(secret *corev1.Secret, version string) error {
	if s.f.view.Watched(secret, version) {
		s.f.calls.Load().changed()
	}
	return nil
}
