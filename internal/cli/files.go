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

// maxPause bounds --pause: a change waits until the previous one ends.
const maxPause = time.Minute

// filesOptions are the flags of files.
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
		Short: "Keep Keystone's key repository equal to this cluster's own Secret",
		Long: `Watches this cluster's own Secret, and keeps DIR, Keystone's key repository,
equal to it, until SIGTERM: a new key is in use the moment it arrives, not when the
kubelet shows it. It runs beside each Keystone, in every region, as Keystone's user.

It makes DIR where it is absent, for its own user alone, and writes nothing else.
New keys come first, then the staged one, then what is gone is removed, with a pause
between, so that no load of the keys by Keystone lacks one. A Secret that is absent
or that Keystone could not use changes no file. Files whose names are no key's index
are left alone.

Where the API cannot be had, the keys come from MOUNT, a volume of the same Secret:
for the first fill after 2 s; later after a minute, and only keys that continue
those in DIR.

Bad flags end it at once. Nothing else does: what goes wrong is said, and tried
again.`,
		Example: `  fernetcast files /run/fernetcast/keys --from /run/fernetcast-secret
  fernetcast files /run/fernetcast/keys --once`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("files takes one DIR")
			}
			o.directory = args[0]
			if err := o.check(); err != nil {
				return err
			}
			return o.run(cmd.Context(), o.logger(cmd))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "", "directory in which the same Secret is mounted, for when the API does not answer")
	f.DurationVar(&o.pause, "pause", 2*time.Second, "wait between two steps: longer than Keystone takes to load its keys once")
	f.StringVar(&o.listen, "listen", ":9466", "address of /livez, /readyz and /metrics; empty: none")
	f.BoolVar(&o.once, "once", false, "end once DIR has the keys: for an init container; nothing listens")
	return cmd
}

func (o *filesOptions) check() error {
	if err := o.options.check(); err != nil {
		return err
	}
	if o.directory == "" {
		return errors.New("DIR is empty: name Keystone's key repository")
	}
	if o.from != "" && nested(o.from, o.directory) {
		return fmt.Errorf("--from %q and DIR %q: one is in the other; the mounted Secret has to be a directory of its own", o.from, o.directory)
	}
	if o.pause < 0 || o.pause > maxPause {
		return fmt.Errorf("--pause %s: it has to be from 0 to %s", o.pause, maxPause)
	}
	return checkListen(o.listen)
}

// nested reports whether one path is the other, or inside it.
func nested(a, b string) bool {
	a, b = filepath.Clean(a), filepath.Clean(b)
	in := func(path, dir string) bool {
		rel, err := filepath.Rel(dir, path)
		return err == nil && filepath.IsLocal(rel)
	}
	return in(a, b) || in(b, a)
}

// run keeps the files, and returns when all goroutines have ended.
func (o *filesOptions) run(ctx context.Context, log *slog.Logger) error {
	log.Info("keeping a key repository", "version", release(), "directory", o.directory)
	defer log.Info("ended")
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
		return exitError{fmt.Errorf("ended before %s had the keys", o.directory)}
	}
	return nil
}
