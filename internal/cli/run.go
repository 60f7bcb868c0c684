package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/telemetry"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/spf13/cobra"
)

// runOptions are the flags of run.
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
		Short: "Watch and push until SIGTERM: what the sidecar runs",
		Long: `Watches the source Secret and every remote, and pushes what differs, until SIGTERM.

It acts where its own cluster's Secret bears the mark of the main, stands by
where it is a copy, and touches nothing where it is neither: see promote.
Bad flags end it at once. Nothing else does: what goes wrong is said, and tried
again.`,
		Example:           "  fernetcast run --clusters /etc/fernetcast/clusters --listen :9464",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			o.run(cmd.Context(), o.logger(cmd))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", ":9464", "address of /livez, /readyz, /statusz and /metrics; empty: none")
	f.StringVar(&o.tokens, "tokens", defaultTokens, "directory of tokens that count before those in the kubeconfigs: those that renew --self keeps")
	f.DurationVar(&o.resync, "resync", time.Minute, "how often source and remotes are read, whatever their watches say")
	f.DurationVar(&o.backoffInitial, "backoff-initial", 200*time.Millisecond, "first wait of a remote that failed")
	f.DurationVar(&o.backoffMax, "backoff-max", 30*time.Second, "longest wait of a remote that failed, and how long a contested one has to be quiet")
	o.identityFlag(cmd)
	return cmd
}

func (o *runOptions) check() error {
	if err := o.options.check(); err != nil {
		return err
	}
	if strings.HasPrefix(o.clusters, secretPrefix) {
		return fmt.Errorf("--clusters %q: run takes a directory; mount the Secret", o.clusters)
	}
	if o.clusters == "" {
		o.clusters = defaultDirectory
	}
	if err := errors.Join(checkListen(o.listen), positive("--resync", o.resync), positive("--backoff-initial", o.backoffInitial),
		positive("--backoff-max", o.backoffMax)); err != nil {
		return err
	}
	if o.backoffInitial > o.backoffMax {
		return fmt.Errorf("--backoff-initial %s is above --backoff-max %s", o.backoffInitial, o.backoffMax)
	}
	return nil
}

// run wires everything together and returns when all goroutines have ended.
func (o *runOptions) run(ctx context.Context, log *slog.Logger) {
	log.Info("starting", "version", release(), "source", o.namespace+"/"+o.secret, "clusters", o.clusters)
	defer log.Info("ended")
	cluster := lazy{o.options}
	source := o.watcher(cluster, log, o.resync)
	set := o.remotes(log)
	var push *pusher.Pusher
	status := func() mirror.Status {
		st := mirror.Status{Source: o.sourceStatus(source), Remotes: push.Status()}
		set.Describe(st.Remotes)
		return st
	}
	metrics := telemetry.NewMetrics(release(), status)
	events := telemetry.NewEvents(telemetry.EventsOptions{Status: status, Create: cluster.createEvent, Instance: instance(), Log: log})
	push = pusher.New(pusher.Options{
		Source: source, Remotes: remotes{set}, Resync: o.resync,
		BackoffInitial: o.backoffInitial, BackoffMax: o.backoffMax, Log: log,
		Observer: observer{metrics, events}, Metrics: metrics.Queue(),
	})
	server := telemetry.Server{Address: o.listen, Ready: source.Read, Unready: "the source has not been read yet", Status: status, Metrics: metrics.Handler(), Log: log}
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { source.Run(ctx, push.SourceChanged) })
	parts.Go(func() { set.Run(ctx, o.clusters, o.tokens, push) })
	parts.Go(func() { push.Run(ctx) })
	parts.Go(func() { events.Run(ctx) })
	if o.listen != "" {
		parts.Go(func() { server.Run(ctx) })
	}
	<-ctx.Done()
	log.Info("ending")
}

// observer forwards the pusher's events to the telemetry.
type observer struct {
	metrics *telemetry.Metrics
	*telemetry.Events
}

// Pushed implements [pusher.Observer].
func (o observer) Pushed(remote string, p mirror.Push) {
	o.metrics.Pushed(p)
	o.Events.Pushed(remote, p)
}

// instance returns the name of this replica: the pod's name.
func instance() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "unknown"
	}
	return name
}
