package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/fernetcast/fernetcast/watcher"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// connect returns the clients for the source's cluster. It caches them, and sends no requests. It
// is safe for concurrent use.
func (o *options) connect() (*setup.APIs, error) {
	o.home.mu.Lock()
	defer o.home.mu.Unlock()
	if o.home.apis != nil {
		return o.home.apis, nil
	}
	cfg, context, err := o.sourceConfig()
	if err != nil {
		return nil, mirror.Own{Err: fmt.Errorf("finding the source's cluster: %w", err)}
	}
	apis, err := o.apis(cfg)
	if err != nil {
		return nil, mirror.Own{Err: fmt.Errorf("connecting to the source's cluster: %w", err)}
	}
	o.home.apis, o.home.context = apis, context
	return apis, nil
}

// where describes how the commands reach the source's cluster: the context and the address. It
// returns "" before connect has succeeded.
func (o *options) where() string {
	o.home.mu.Lock()
	defer o.home.mu.Unlock()
	switch {
	case o.home.apis == nil:
		return ""
	case o.home.context == "":
		return mirror.Address(o.home.apis.Config.Host)
	}
	return fmt.Sprintf("context %s, %s", mirror.Quote(o.home.context), mirror.Address(o.home.apis.Config.Host))
}

// unread explains why a read in the source's cluster failed. If the API server is down, unread also
// returns how the command tried to reach the server, and where to read about a failover.
func (o *options) unread(err error) string {
	if !away(err) {
		return mirror.Explain(err)
	}
	return fmt.Sprintf("the main region's API server (%s) cannot be reached: %s; if it is down, see docs/operations.md#failover", o.where(), mirror.Explain(err))
}

// away reports whether a request failed because the API server is down.
func away(err error) bool {
	return err != nil && mirror.FailureOf(err).State == mirror.StateUnreachable
}

// sourceConfig returns the config for the cluster that the flags select. Without flags, it is
// the cluster that the process runs in or, outside a cluster, kubectl's current context. It also
// returns the context's name, or "" in a cluster.
func (o *options) sourceConfig() (cfg *rest.Config, context string, err error) {
	if o.kubeconfig == "" && o.context == "" {
		cfg, err := rest.InClusterConfig()
		if err == nil {
			cfg.Impersonate.UserName = o.as
		}
		if err == nil || !errors.Is(err, rest.ErrNotInCluster) {
			return cfg, "", err
		}
	}
	overrides := o.overrides()
	overrides.CurrentContext = o.context
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loadingRules(o.kubeconfig), overrides)
	if raw, err := config.RawConfig(); err == nil { // otherwise ClientConfig returns the error
		context = cmp.Or(o.context, raw.CurrentContext)
		if current := raw.Contexts[context]; current != nil && raw.Clusters[current.Cluster] != nil {
			if err := checkCluster(raw.Clusters[current.Cluster]); err != nil {
				return nil, "", err
			}
		}
	}
	cfg, err = config.ClientConfig()
	return cfg, context, err
}

// apis creates the clients for a cluster. It sends no requests.
func (o *options) apis(cfg *rest.Config) (*setup.APIs, error) {
	return setup.NewAPIs(cfg, kube.Options{UserAgent: userAgent(), Timeout: o.requestTimeout})
}

// lazy accesses the source's cluster for run and files, which must not fail if there is no
// kubeconfig yet. Each request tries to connect until that succeeds. It is safe for
// concurrent use.
type lazy struct{ *options }

// ask connects if necessary, and then sends a request.
func ask[T any](l lazy, request func(*setup.APIs) (T, error)) (answer T, err error) {
	apis, err := l.connect()
	if err == nil {
		answer, err = request(apis)
	}
	return answer, err
}

// Get implements [watcher.Secrets].
func (l lazy) Get(ctx context.Context, name string) (*corev1.Secret, error) {
	return ask(l, func(c *setup.APIs) (*corev1.Secret, error) { return c.Secrets(l.namespace).Get(ctx, name) })
}

// List implements [watcher.Secrets].
func (l lazy) List(ctx context.Context, name string, opts metav1.ListOptions) (*corev1.SecretList, error) {
	return ask(l, func(c *setup.APIs) (*corev1.SecretList, error) { return c.Secrets(l.namespace).List(ctx, name, opts) })
}

// Watch implements [watcher.Secrets].
func (l lazy) Watch(ctx context.Context, name string, opts metav1.ListOptions) (watch.Interface, error) {
	return ask(l, func(c *setup.APIs) (watch.Interface, error) { return c.Secrets(l.namespace).Watch(ctx, name, opts) })
}

// createEvent creates an event in the source's cluster.
func (l lazy) createEvent(ctx context.Context, event *eventsv1.Event) error {
	_, err := ask(l, func(c *setup.APIs) (struct{}, error) { return struct{}{}, c.CreateEvent(ctx, event) })
	return err
}

// watcher returns a watcher of the source.
func (o *options) watcher(secrets watcher.Secrets, log *slog.Logger, resync time.Duration) *watcher.Watcher {
	return watcher.New(watcher.Options{
		Secrets: secrets, Name: o.secret, Parse: mirror.Source.Then, Resync: resync,
		Log: log.With("source", o.namespace+"/"+o.secret),
	})
}

// sourceStatus returns the status of the source as last read. It includes the error if the last
// attempt to read it failed.
func (o *options) sourceStatus(source *watcher.Watcher) mirror.SourceStatus {
	seen, _ := source.Seen()
	trouble := ""
	if err := source.Err(); err != nil {
		trouble = "the source cannot be read: " + o.unread(err)
	}
	return seen.Status(o.namespace, o.secret, trouble)
}

// mint returns a function that requests tokens for --identity, or nil without that flag.
func (o *options) mint() clusters.Mint {
	if o.identity == "" {
		return nil
	}
	config := func() (*rest.Config, error) {
		return ask(lazy{o}, func(c *setup.APIs) (*rest.Config, error) { return c.Config, nil })
	}
	return setup.NewMinter(setup.MintOptions{
		Config: config, Namespace: o.namespace, Account: o.identity, UserAgent: userAgent(), Timeout: o.requestTimeout,
	}).Mint
}

// remotes returns an empty set of remotes.
func (o *options) remotes(log *slog.Logger) *clusters.Set {
	return clusters.NewSet(clusters.Options{
		Namespace: o.namespace, Secret: o.secret, Timeout: o.requestTimeout, UserAgent: userAgent(), Log: log, Mint: o.mint(),
	})
}

// remotes implements [pusher.Remotes] for a set.
type remotes struct{ *clusters.Set }

// Remote implements [pusher.Remotes].
func (r remotes) Remote(name string) (pusher.Remote, error) {
	remote, err := r.Set.Remote(name)
	if remote == nil {
		return nil, err // avoids an interface that contains a nil pointer
	}
	return remote, err
}

// examination returns the options that are the same for all remotes.
func (o *options) examination(source mirror.Source) preflight.Options {
	return preflight.Options{Secret: o.secret, Source: source, Timeout: o.requestTimeout, UserAgent: userAgent()}
}

// byOperator returns a remote that is checked with the operator's credentials in cfg.
func (o *options) byOperator(there place, cfg *rest.Config, source mirror.Source) preflight.Remote {
	return preflight.Remote{
		Options: o.examination(source), Name: there.context, Config: cfg, Namespace: o.namespace, Operator: true,
	}
}

// through returns a function that returns the named remote as accessed through a kubeconfig.
func (o *options) through(name string, source mirror.Source) func(encoded []byte) preflight.Remote {
	return func(encoded []byte) preflight.Remote {
		return o.target(clusters.File{Name: name, Data: encoded}, source)
	}
}

// target returns the remote for a kubeconfig file, with the same client config as in run.
func (o *options) target(f clusters.File, source mirror.Source) preflight.Remote {
	r := preflight.Remote{Options: o.examination(source), Name: f.Name, Refused: f.Err}
	if f.Err != nil {
		return r
	}
	mint := o.mint()
	k, err := kubeconfig.Parse(f.Data, mint != nil)
	if err != nil {
		r.Refused = err
		return r
	}
	if r.SignIn = clusters.SignIn(f.Name, k, mint, r.Timeout, slog.New(slog.DiscardHandler)); r.SignIn.Tokens == nil {
		k.Token, r.OtherToken = f.Bearer(k.Token)
		r.TokenErr = f.TokenErr
	}
	r.Config, r.Namespace, r.Cluster = k.ClientConfig(), cmp.Or(k.Namespace, o.namespace), k.Cluster
	return r
}
