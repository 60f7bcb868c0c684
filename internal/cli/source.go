package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/watcher"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// home is the Secrets of the source's namespace. It connects when it is first
// needed, and tries again each time after that failed: run does not end for
// want of a kubeconfig. It may be used concurrently.
type home struct {
	opts *options

	mu      sync.Mutex
	secrets *kube.Secrets
}

func (h *home) connect() (*kube.Secrets, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.secrets != nil {
		return h.secrets, nil
	}
	cfg, err := h.opts.sourceConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the source's cluster: %w", err)
	}
	client, err := kube.New(cfg, kube.Options{UserAgent: userAgent(), Timeout: h.opts.requestTimeout})
	if err != nil {
		return nil, fmt.Errorf("connecting to the source's cluster: %w", err)
	}
	h.secrets = client.Secrets(h.opts.namespace)
	return h.secrets, nil
}

// sourceConfig is the cluster that was named by flags, else the one we run in,
// else what kubectl would take.
func (o *options) sourceConfig() (*rest.Config, error) {
	if o.kubeconfig == "" && o.context == "" {
		cfg, err := rest.InClusterConfig()
		if err == nil || !errors.Is(err, rest.ErrNotInCluster) {
			return cfg, err
		}
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: o.context}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
}

// connected sends one request, once there is a client.
func connected[T any](h *home, request func(*kube.Secrets) (T, error)) (T, error) {
	secrets, err := h.connect()
	if err != nil {
		var none T
		return none, err
	}
	return request(secrets)
}

// Get implements [watcher.Secrets].
func (h *home) Get(ctx context.Context, name string) (*corev1.Secret, error) {
	return connected(h, func(s *kube.Secrets) (*corev1.Secret, error) { return s.Get(ctx, name) })
}

// List implements [watcher.Secrets].
func (h *home) List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error) {
	return connected(h, func(s *kube.Secrets) (*corev1.SecretList, error) { return s.List(ctx, name, opts) })
}

// Watch implements [watcher.Secrets].
func (h *home) Watch(ctx context.Context, name string, opts metav1.ListOptions) (watch.Interface, error) {
	return connected(h, func(s *kube.Secrets) (watch.Interface, error) { return s.Watch(ctx, name, opts) })
}

// Update replaces a Secret by compare-and-swap. Only promote does.
func (h *home) Update(ctx context.Context, secret *corev1.Secret, manager string) (*corev1.Secret, error) {
	return connected(h, func(s *kube.Secrets) (*corev1.Secret, error) { return s.Update(ctx, secret, manager) })
}

// watcher makes the watcher of the source.
func (h *home) watcher(log *slog.Logger, resync time.Duration) *watcher.Watcher {
	return watcher.New(watcher.Options{
		Secrets: h, Name: h.opts.secret, Parse: mirror.ReadSource, Resync: resync,
		Log: log.With("source", h.opts.namespace+"/"+h.opts.secret),
	})
}

// remotes makes the set of remotes, without any.
func (o *options) remotes(log *slog.Logger) *clusters.Set {
	return clusters.NewSet(clusters.Options{
		Namespace: o.namespace, Secret: o.secret, Timeout: o.requestTimeout, UserAgent: userAgent(), Log: log,
	})
}

// sourceStatus tells what a watcher of the source sees, and why it could not at
// the last try.
func (o *options) sourceStatus(source *watcher.Watcher) mirror.SourceStatus {
	seen, _ := source.Seen()
	trouble := ""
	if err := source.Err(); err != nil {
		trouble = "the source cannot be read: " + mirror.Explain(err)
	}
	return seen.Status(o.namespace, o.secret, trouble)
}
