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
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// connect makes a client of the source's cluster. Nothing is sent.
func (o *options) connect() (*kube.Client, error) {
	cfg, err := o.sourceConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the source's cluster: %w", err)
	}
	client, err := kube.New(cfg, kube.Options{UserAgent: userAgent(), Timeout: o.requestTimeout})
	if err != nil {
		return nil, fmt.Errorf("connecting to the source's cluster: %w", err)
	}
	return client, nil
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

// lazy is the source's cluster for run, which does not end where there is no
// kubeconfig: it connects at the first request, and tries again at each one until
// that succeeds. It may be used concurrently.
type lazy struct {
	opts *options

	mu     sync.Mutex
	client *kube.Client
}

// ask sends a request, once there is a client.
func ask[T any](l *lazy, request func(*kube.Client) (T, error)) (answer T, err error) {
	l.mu.Lock()
	if l.client == nil {
		l.client, err = l.opts.connect()
	}
	client := l.client
	l.mu.Unlock()
	if err != nil {
		return answer, err
	}
	return request(client)
}

// Get implements [watcher.Secrets].
func (l *lazy) Get(ctx context.Context, name string) (*corev1.Secret, error) {
	return ask(l, func(c *kube.Client) (*corev1.Secret, error) { return c.Secrets(l.opts.namespace).Get(ctx, name) })
}

// List implements [watcher.Secrets].
func (l *lazy) List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error) {
	return ask(l, func(c *kube.Client) (*corev1.SecretList, error) {
		return c.Secrets(l.opts.namespace).List(ctx, name, opts)
	})
}

// Watch implements [watcher.Secrets].
func (l *lazy) Watch(ctx context.Context, name string, opts metav1.ListOptions) (watch.Interface, error) {
	return ask(l, func(c *kube.Client) (watch.Interface, error) {
		return c.Secrets(l.opts.namespace).Watch(ctx, name, opts)
	})
}

// createEvent creates an event in the source's cluster.
func (l *lazy) createEvent(ctx context.Context, event *eventsv1.Event) error {
	_, err := ask(l, func(c *kube.Client) (struct{}, error) { return struct{}{}, c.CreateEvent(ctx, event) })
	return err
}

// watcher makes the watcher of the source.
func (o *options) watcher(secrets watcher.Secrets, log *slog.Logger, resync time.Duration) *watcher.Watcher {
	return watcher.New(watcher.Options{
		Secrets: secrets, Name: o.secret, Parse: mirror.Source.Then, Resync: resync,
		Log: log.With("source", o.namespace+"/"+o.secret),
	})
}

// remotes makes the set of remotes, without any.
func (o *options) remotes(log *slog.Logger) *clusters.Set {
	return clusters.NewSet(clusters.Options{
		Namespace: o.namespace, Secret: o.secret, Timeout: o.requestTimeout, UserAgent: userAgent(), Log: log, Mint: o.mint(),
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
