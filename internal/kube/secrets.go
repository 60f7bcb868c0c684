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

// Secrets are the Secrets of one namespace. Each request has a deadline. An
// absent Secret is the error that [apierrors.IsNotFound] tells.
type Secrets struct {
	client    *Client
	namespace string
}

// Secrets are those of a namespace.
func (c *Client) Secrets(namespace string) *Secrets {
	return &Secrets{c, namespace}
}

// ask returns the context of a request for the named Secret, or for a list of it.
func (s *Secrets) ask(ctx context.Context, name string, list bool) (context.Context, context.CancelFunc) {
	ctx = context.WithValue(ctx, askedKey{}, asked{namespace: s.namespace, name: name, list: list})
	return context.WithTimeout(ctx, s.client.timeout)
}

// read begins a read, without client-go's own tries after a lost connection: ten
// of them a second apart, which a change of the source could not cut short.
func (s *Secrets) read() *rest.Request {
	return s.client.core.RESTClient().Get().Namespace(s.namespace).Resource("secrets").MaxRetries(0)
}

// Get reads a Secret from etcd.
func (s *Secrets) Get(ctx context.Context, name string) (*corev1.Secret, error) {
	ctx, cancel := s.ask(ctx, name, false)
	defer cancel()
	secret := &corev1.Secret{}
	return secret, s.read().Name(name).Do(ctx).Into(secret) // no resourceVersion: not from a cache
}

// Update replaces a Secret by compare-and-swap: it has to carry the
// resourceVersion and the uid of what was read. Without a resourceVersion an
// API server overwrites blindly.
func (s *Secrets) Update(ctx context.Context, secret *corev1.Secret, manager string) (*corev1.Secret, error) {
	ctx, cancel := s.ask(ctx, secret.Name, false)
	defer cancel()
	return s.client.core.Secrets(s.namespace).Update(ctx, secret, metav1.UpdateOptions{FieldManager: manager})
}

// Create makes an absent Secret, and is a conflict where there is one. It is a
// server-side apply, because RBAC can limit its verbs to one name, and a POST's
// not; resourceVersion 1 is never that of a Secret that exists.
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

// List lists the one Secret of that name, as RBAC by resourceName allows it.
func (s *Secrets) List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error) {
	ctx, cancel := s.ask(ctx, name, true)
	defer cancel()
	opts.FieldSelector = only(name)
	opts.Limit, opts.Continue = 0, "" // one Secret is one page
	list := &corev1.SecretList{}
	return list, s.read().VersionedParams(&opts, scheme.ParameterCodec).Do(ctx).Into(list)
}

// Watch watches the one Secret of that name. The deadline is for the answer;
// the events may take as long as they like.
func (s *Secrets) Watch(ctx context.Context, name string, opts metav1.ListOptions) (watch.Interface, error) {
	var answered atomic.Bool
	ctx = context.WithValue(ctx, askedKey{}, asked{namespace: s.namespace, name: name, answered: &answered})
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(s.client.timeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	opts.FieldSelector = only(name)
	opts.Watch = true
	events, err := s.read().VersionedParams(&opts, scheme.ParameterCodec).Watch(ctx)
	if err == nil && !answered.Load() { // client-go takes a lost connection for a watch without events
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

// stream is a watch that releases its context when it is stopped.
type stream struct {
	watch.Interface
	cancel context.CancelCauseFunc
}

func (s stream) Stop() {
	s.cancel(nil)
	s.Interface.Stop()
}
