package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/telemetry"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
)

// runOptions holds the flags of run.
type runOptions struct {
	*options
	listen, tokens             string
	resync                     time.Duration
	backoffInitial, backoffMax time.Duration
}

func newRun(all *options) *cobra.Command {
	o := &runOptions{options: all}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Watch and push until SIGTERM (the sidecar's command)",
		Long: `Watches the source Secret and every remote, and pushes the keys to remotes that
differ, until SIGTERM.

It pushes only if its own cluster's Secret has the mark of the main region, which
promote sets. If the Secret is a copy, it stands by. Otherwise, it changes nothing.

It exits if a flag is invalid. It logs and retries all other errors.`,
		Example: "  fernetcast run --clusters /etc/fernetcast/clusters --listen :9464",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			o.run(cmd.Context(), o.logger(cmd))
			return nil
		},
	}
	f := cmd.Flags()
	textVar(f, &o.listen, "listen", ":9464", "address for /livez, /readyz, /statusz, and /metrics (empty: none)", listenAddress)
	f.StringVar(&o.tokens, "tokens", defaultTokens, "directory of tokens from renew --self, which are used if they are newer than those in the kubeconfigs")
	periodVar(f, &o.resync, "resync", time.Minute, time.Millisecond, "how often to read the source, and each remote that sends no bookmarks")
	periodVar(f, &o.backoffInitial, "backoff-initial", 200*time.Millisecond, time.Millisecond, "initial retry delay for a failed remote")
	periodVar(f, &o.backoffMax, "backoff-max", 30*time.Second, time.Millisecond, "maximum retry delay, and how long a contested remote must stay unchanged")
	o.identityFlag(cmd)
	return cmd
}

func (o *runOptions) validate() error {
	if strings.HasPrefix(o.clusters, secretPrefix) {
		return fmt.Errorf("--clusters %q: run requires a directory; mount the Secret", o.clusters)
	}
	o.clusters = cmp.Or(o.clusters, defaultDirectory)
	if o.backoffInitial > o.backoffMax {
		return fmt.Errorf("--backoff-initial %s exceeds --backoff-max %s", readable(o.backoffInitial), readable(o.backoffMax))
	}
	return nil
}

// run connects all components and runs them until ctx ends. It returns after all its
// goroutines have ended.
func (o *runOptions) run(ctx context.Context, log *slog.Logger) {
	log.Info("starting", "version", release(), "source", o.namespace+"/"+o.secret, "clusters", o.clusters)
	defer log.Info("stopped")
	cluster := lazy{o.options}
	source := o.watcher(cluster, log, o.resync)
	set := o.remotes(log)
	var push *pusher.Pusher
	status := func() mirror.Status {
		st := mirror.Status{Source: o.sourceStatus(source), Remotes: push.Status()}
		set.Describe(st.Remotes)
		return st.Advised()
	}
	metrics := telemetry.NewMetrics(release(), status)
	hostname, _ := os.Hostname() // in a pod, this is the pod's name
	events := telemetry.NewEvents(telemetry.EventsOptions{Status: status, Create: cluster.createEvent, Instance: cmp.Or(hostname, "unknown"), Log: log})
	push = pusher.New(pusher.Options{
		Source: source, Remotes: remotes{set}, Resync: o.resync,
		BackoffInitial: o.backoffInitial, BackoffMax: o.backoffMax, Log: log,
		Observer: observer{metrics, events}, Metrics: metrics.Queue(),
	})
	server := telemetry.Server{Address: o.listen, Ready: source.Read, Unready: "the source has not been read yet", Status: status, Metrics: metrics.Handler(), Log: log}
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { source.Run(ctx, push.SourceChanged) })
	parts.Go(func() { set.Run(ctx, o.clusters, o.tokens, follower{push, set, o.clusters, events}) })
	parts.Go(func() { push.Run(ctx) })
	parts.Go(func() { events.Run(ctx) })
	parts.Go(func() { collectLess(ctx, status) })
	if o.listen != "" {
		parts.Go(func() { server.Run(ctx) })
	}
	<-ctx.Done()
	log.Info("stopping")
}

// collectLess makes the garbage collector run less often until no remote is Pending.
func collectLess(ctx context.Context, status func() mirror.Status) {
	collectAt(startPercent)
	defer collectAt(gcPercent)
	_ = wait.PollUntilContextTimeout(ctx, time.Second, startTime, false, func(context.Context) (bool, error) {
		remotes := status().Remotes
		return len(remotes) > 0 && !slices.ContainsFunc(remotes, func(r mirror.RemoteStatus) bool { return r.State == mirror.StatePending }), nil
	})
}

// observer forwards the pusher's events to the metrics and the Kubernetes events.
type observer struct {
	metrics *telemetry.Metrics
	*telemetry.Events
}

// Pushed implements [pusher.Observer].
func (o observer) Pushed(remote string, p mirror.Push) {
	o.metrics.Pushed(p)
	o.Events.Pushed(remote, p)
}

// follower forwards changes to the remotes to the pusher, and reports those that disappear without
// leave.
type follower struct {
	*pusher.Pusher
	set    *clusters.Set
	dir    string
	events *telemetry.Events
}

// ClientChanged implements [clusters.Events].
func (f follower) ClientChanged(name string) {
	if remote, err := f.set.Remote(name); remote == nil && err == nil {
		// Look in ..data, too: when a volume changes, the kubelet switches ..data before it links
		// new files.
		_, mounted := os.Stat(filepath.Join(f.dir, "..data", kubeconfig.LeftOf(name)))
		if _, err := os.Stat(filepath.Join(f.dir, kubeconfig.LeftOf(name))); err != nil && mounted != nil {
			f.events.Removed(name)
		}
	}
	f.Pusher.ClientChanged(name)
}
