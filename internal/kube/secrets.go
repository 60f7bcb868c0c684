package kube

import (
	"context"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// Secrets reads and writes the Secrets of one namespace. Each request has a deadline. If a Secret
// is absent, the error satisfies [apierrors.IsNotFound].
type Secrets struct {
	client    *Client
	namespace string
}

// Secrets returns access to the Secrets in a namespace.
func (c *Client) Secrets(namespace string) *Secrets {
	return &Secrets{c, namespace}
}

// ask returns the context for a request for the named Secret, or for a list of it.
func (s *Secrets) ask(ctx context.Context, name string, list bool) (context.Context, context.CancelFunc) {
	ctx = context.WithValue(ctx, expectedKey{}, expected{namespace: s.namespace, name: name, list: list})
	return context.WithTimeout(ctx, s.client.timeout)
}

// read starts a GET without client-go's ten retries after a lost connection. The retries are a
// second apart, and a change to the source could not interrupt them.
func (s *Secrets) read() *rest.Request {
	return s.client.core.RESTClient().Get().Namespace(s.namespace).Resource("secrets").MaxRetries(0)
}

// Get reads a Secret from etcd, not from a cache of the API server.
func (s *Secrets) Get(ctx context.Context, name string) (*corev1.Secret, error) {
	ctx, cancel := s.ask(ctx, name, false)
	defer cancel()
	secret := &corev1.Secret{}
	return secret, s.read().Name(name).Do(ctx).Into(secret) // no resourceVersion: a quorum read
}

// Update replaces a Secret by compare-and-swap. The Secret must have the resourceVersion and UID of
// the version that was read. Without a resourceVersion, an API server overwrites blindly.
func (s *Secrets) Update(ctx context.Context, secret *corev1.Secret, manager string) (*corev1.Secret, error) {
	ctx, cancel := s.ask(ctx, secret.Name, false)
	defer cancel()
	return s.client.core.Secrets(s.namespace).Update(ctx, secret, metav1.UpdateOptions{FieldManager: manager})
}

// Create creates an absent Secret, or returns a conflict if it exists. It uses server-side apply,
// because RBAC cannot limit a POST to one name. It applies resourceVersion 1, which no existing
// Secret has.
func (s *Secrets) Create(ctx context.Context, secret *corev1.Secret, manager string) (*corev1.Secret, error) {
	ctx, cancel := s.ask(ctx, secret.Name, false)
	defer cancel()
	apply := corev1apply.Secret(secret.Name, s.namespace).
		WithResourceVersion("1").
		WithAnnotations(secret.Annotations).
		WithType(secret.Type).
		WithData(secret.Data)
	return s.client.core.Secrets(s.namespace).Apply(ctx, apply, metav1.ApplyOptions{FieldManager: manager})
}

// List lists only the named Secret, as RBAC with resourceNames requires.
func (s *Secrets) List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error) {
	ctx, cancel := s.ask(ctx, name, true)
	defer cancel()
	opts.FieldSelector = only(name)
	opts.Limit, opts.Continue = 0, "" // one Secret fits in one page
	list := &corev1.SecretList{}
	return list, s.read().VersionedParams(&opts, scheme.ParameterCodec).Do(ctx).Into(list)
}

// Watch watches only the named Secret. The deadline applies to the response, not to the events.
func (s *Secrets) Watch(ctx context.Context, name string, opts metav1.ListOptions) (watch.Interface, error) {
	var answered atomic.Bool
	ctx = context.WithValue(ctx, expectedKey{}, expected{namespace: s.namespace, name: name, answered: &answered})
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(s.client.timeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	opts.FieldSelector = only(name)
	opts.Watch = true
	events, err := s.read().VersionedParams(&opts, scheme.ParameterCodec).Watch(ctx)
	if err == nil && !answered.Load() { // client-go reports a lost connection as a watch without events
		err = errNoAnswer
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return stream{events, cancel}, nil
}

func only(name string) string {
	return fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
}

// A stream is a watch that releases its context when it is stopped.
type stream struct {
	watch.Interface
	cancel context.CancelCauseFunc
}

func (s stream) Stop() {
	s.cancel(nil)
	s.Interface.Stop()
}
