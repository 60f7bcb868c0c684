package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/repository"
	"github.com/fernetcast/fernetcast/internal/telemetry"
	"github.com/spf13/cobra"
)

// maxPause limits --pause, because a change waits until the previous change is complete.
const maxPause = time.Minute

// filesOptions holds the flags of files.
type filesOptions struct {
	*options
	directory, from, listen string
	pause                   time.Duration
	once                    bool
}

func newFiles(all *options) *cobra.Command {
	o := &filesOptions{options: all}
	cmd := &cobra.Command{
		Use:   "files DIR",
		Short: "Keep Keystone's key repository identical to this cluster's Secret",
		Long: `Watches this cluster's Secret and keeps DIR, Keystone's key repository, identical
to it until SIGTERM. Keystone gets new keys immediately, without waiting for the
kubelet. Run it next to every Keystone in every region, as Keystone's user.

If DIR does not exist, files creates it for its own user only. It adds new keys
first, then replaces the staged key, then removes old keys. It pauses between
these steps, so that Keystone never loads an incomplete set. If the Secret is
missing or invalid, no file changes. It never touches files that are not keys.

If the API is unavailable, the keys come from --from, a mounted volume of the same
Secret: after 2s if DIR has no keys yet, otherwise after 1m and only if they
continue those in DIR.

It exits if a flag is invalid. It logs and retries all other errors.`,
		Example: `  fernetcast files /run/fernetcast/keys --from /run/fernetcast-secret
  fernetcast files /run/fernetcast/keys --once`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		Args: one("DIR", func(dir string) error {
			if dir == "" {
				return errors.New("DIR is empty: specify Keystone's key repository")
			}
			return nil
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.directory = args[0]
			if err := o.validate(); err != nil {
				return err
			}
			return o.run(cmd.Context(), o.logger(cmd))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "directory where the same Secret is mounted, used while the API is unavailable")
	periodVar(f, &o.pause, "pause", 2*time.Second, 0, "pause between steps; must be longer than Keystone takes to load its keys")
	textVar(f, &o.listen, "listen", ":9466", "address for /livez, /readyz, and /metrics (empty: none)", listenAddress)
	f.BoolVar(&o.once, "once", false, "exit when DIR has the keys, without listening (for an init container)")
	return cmd
}

func (o *filesOptions) validate() error {
	if o.from != "" && nested(o.from, o.directory) {
		return fmt.Errorf("--from %q and DIR %q: neither directory may contain the other", o.from, o.directory)
	}
	if o.pause > maxPause {
		return fmt.Errorf("--pause %s: must be at most %s", readable(o.pause), readable(maxPause))
	}
	return nil
}

// nested reports whether the paths are equal or one contains the other.
func nested(a, b string) bool {
	a, b = filepath.Clean(a), filepath.Clean(b)
	in := func(path, dir string) bool {
		rel, err := filepath.Rel(dir, path)
		return err == nil && filepath.IsLocal(rel)
	}
	return in(a, b) || in(b, a)
}

// run maintains the files until ctx ends. It returns after all its goroutines have ended.
func (o *filesOptions) run(ctx context.Context, log *slog.Logger) error {
	log.Info("maintaining the key repository", "version", release(), "directory", o.directory)
	defer log.Info("stopped")
	ctx, stop := context.WithCancel(ctx)
	source := o.watcher(lazy{o.options}, log, time.Minute)
	var metrics *telemetry.FilesMetrics
	keeper := repository.New(repository.Options{
		Directory: o.directory, Mount: o.from, Pause: o.pause, Source: source, Log: log,
		Arrived: func(took time.Duration) { metrics.Arrived(took) },
	})
	metrics = telemetry.NewFilesMetrics(release(),
		func() int { return keeper.Status().Primary }, func() time.Time { return keeper.Status().LastMatch })
	server := telemetry.Server{Address: o.listen, Ready: keeper.Ready, Unready: "the key repository has no primary key yet", Metrics: metrics.Handler(), Log: log}
	var parts sync.WaitGroup
	parts.Go(func() { source.Run(ctx, keeper.SourceChanged) })
	if o.listen != "" && !o.once {
		parts.Go(func() { server.Run(ctx) })
	}
	done := keeper.Run(ctx, o.once)
	stop()
	parts.Wait()
	if o.once && !done {
		return exitError{fmt.Errorf("stopped before %s had the keys", o.directory)}
	}
	return nil
}
