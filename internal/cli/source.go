package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/watcher"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// home is the source's cluster. It is connected to when it is first needed,
// and tried again each time after that failed: run does not end for want of a
// kubeconfig. It may be used concurrently.
type home struct {
	opts *options

	mu   sync.Mutex
	conn *clusters.Connection
}

func (h *home) connect() (*clusters.Connection, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		return h.conn, nil
	}
	cfg, err := h.opts.sourceConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the source's cluster: %w", err)
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	h.conn, err = clusters.Connect(cfg, userAgent())
	if err != nil {
		return nil, fmt.Errorf("connecting to the source's cluster: %w", err)
	}
	return h.conn, nil
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

func (h *home) secrets() (corev1client.SecretInterface, error) {
	conn, err := h.connect()
	if err != nil {
		return nil, err
	}
	return conn.Core.Secrets(h.opts.namespace), nil
}

// Get implements [watcher.Secrets].
func (h *home) Get(ctx context.Context, name string, opts metav1.GetOptions) (*corev1.Secret, error) {
	secrets, err := h.secrets()
	if err != nil {
		return nil, err
	}
	return secrets.Get(ctx, name, opts)
}

// List implements [watcher.Secrets].
func (h *home) List(ctx context.Context, opts metav1.ListOptions) (*corev1.SecretList, error) {
	secrets, err := h.secrets()
	if err != nil {
		return nil, err
	}
	return secrets.List(ctx, opts)
}

// Watch implements [watcher.Secrets].
func (h *home) Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	secrets, err := h.secrets()
	if err != nil {
		return nil, err
	}
	return secrets.Watch(ctx, opts)
}

// reset has the next request dial anew.
func (h *home) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		h.conn.Reset()
	}
}

// sourceOptions are those that every watcher of the source has.
func (h *home) sourceOptions(log *slog.Logger) watcher.Options[mirror.Source] {
	return watcher.Options[mirror.Source]{
		Parse:    mirror.ReadSource,
		Timeout:  h.opts.requestTimeout,
		TimedOut: h.reset,
		Log:      log.With("source", h.opts.namespace+"/"+h.opts.secret),
	}
}

// copyOptions are those that every watcher of a remote's copy has.
func (o *options) copyOptions(remote string, timedOut func()) watcher.Options[mirror.Copy] {
	return watcher.Options[mirror.Copy]{
		Parse:    func(s *corev1.Secret) mirror.Copy { return mirror.ReadCopy(remote, s) },
		Timeout:  o.requestTimeout,
		TimedOut: timedOut,
	}
}

// sourceStatus tells what a watcher of the source sees, and why it could not of late.
func (o *options) sourceStatus(source *watcher.Watcher[mirror.Source]) mirror.SourceStatus {
	seen, _ := source.Seen()
	trouble := ""
	if err := source.Err(); err != nil {
		trouble = "the source cannot be read: " + mirror.Explain(err)
	}
	return seen.Status(o.namespace, o.secret, trouble)
}
