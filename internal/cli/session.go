package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/fernetcast/fernetcast/watcher"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// watchEvery is how often status --watch, wait, and join look.
const watchEvery = 2 * time.Second

// session is the source and the remotes, read live, for the commands that look or push
// once.
type session struct {
	opts    *options
	secrets *kube.Secrets // the source's
	source  *watcher.Watcher
	set     *clusters.Set
	log     *slog.Logger
	warned  bool // that there are no remotes
}

// open reads the source and the remotes' kubeconfigs. A source that doesn't answer is
// not an error: the session's status shows it.
func (o *options) open(cmd *cobra.Command) (*session, error) {
	s, err := o.session(cmd)
	if err != nil {
		return nil, err
	}
	return s, s.read(cmd.Context())
}

// session returns a session that has read nothing yet.
func (o *options) session(cmd *cobra.Command) (*session, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	log := o.logger(cmd)
	_, apis, err := o.connect()
	if err != nil {
		return nil, err
	}
	secrets := apis.Secrets(o.namespace)
	quiet := slog.New(slog.DiscardHandler) // their problems are printed with the outcome
	return &session{opts: o, secrets: secrets, source: o.watcher(secrets, quiet, 0), set: o.remotes(quiet), log: log}, nil
}

// read reads the source and the remotes' kubeconfigs.
func (s *session) read(ctx context.Context) error {
	// Its failure shows in the source's status.
	_, _ = s.source.Get(ctx)
	files, err := s.files(ctx)
	if err != nil {
		return exitError{err}
	}
	s.set.Apply(files)
	return nil
}

// reread reads both again. If the kubeconfigs can't be read, the remotes stay as they are.
func (s *session) reread(ctx context.Context) {
	if err := s.read(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("reading failed; using the previous remotes", "error", err)
	}
}

func (s *session) files(ctx context.Context) ([]clusters.File, error) {
	from := cmp.Or(s.opts.clusters, defaultDirectory)
	_, err := os.Stat(from)
	absent := errors.Is(err, fs.ErrNotExist)
	if s.opts.clusters == "" && absent {
		from = defaultSecret
	}
	name, isSecret := strings.CutPrefix(from, secretPrefix)
	if !isSecret {
		if absent {
			s.warn("there are no remotes: the kubeconfig directory does not exist", "clusters", from)
		}
		return clusters.Read(from, defaultTokens)
	}
	secret, err := s.secrets.Get(ctx, name)
	if apierrors.IsNotFound(err) {
		s.warn("there are no remotes: the Secret with the kubeconfigs does not exist", "namespace", s.opts.namespace, "secret", name)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the remotes' kubeconfigs from %s: %s", from, mirror.Explain(err))
	}
	kept, err := s.secrets.Get(ctx, tokensOf(name))
	if err != nil { // each kubeconfig has a token of its own
		return clusters.Files(secret.Data), nil
	}
	return clusters.WithTokens(clusters.Files(secret.Data), kept.Data), nil
}

// warn warns once, even if status --watch reads many times.
func (s *session) warn(text string, args ...any) {
	if !s.warned {
		s.warned = true
		s.log.Warn(text, args...)
	}
}

// choose checks that the named remotes exist. Without names it returns all remotes.
func (s *session) choose(names []string) ([]string, error) {
	all := s.set.Names()
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no remote %q; existing remotes: %s", name, cmp.Or(strings.Join(all, ", "), "none"))
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}

// look reads every named remote and changes nothing.
func (s *session) look(ctx context.Context, names []string) map[string]pusher.Outcome {
	return s.each(ctx, names, pusher.Sync{Source: s.source}.Look)
}

// push brings every named remote up to date.
func (s *session) push(ctx context.Context, names []string, force bool) map[string]pusher.Outcome {
	return s.each(ctx, names, func(ctx context.Context, remote pusher.Remote) *pusher.Outcome {
		return pusher.Sync{Source: s.source, Force: force}.Run(ctx, remote, true)
	})
}

// each takes a step at every named remote at once, and returns the outcomes by name.
func (s *session) each(ctx context.Context, names []string, step func(context.Context, pusher.Remote) *pusher.Outcome) map[string]pusher.Outcome {
	outcomes := make(map[string]pusher.Outcome, len(names))
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			o := &pusher.Outcome{Decision: mirror.Decision{State: mirror.StateMisconfigured}}
			remote, refused := s.set.Remote(name)
			if remote != nil {
				o = step(ctx, remote)
			}
			o.Decision = pusher.Misconfigured(o.Decision, refused)
			mu.Lock()
			defer mu.Unlock()
			outcomes[name] = *o
		})
	}
	all.Wait()
	return outcomes
}

// status returns the source and the remotes that have an outcome.
func (s *session) status(outcomes map[string]pusher.Outcome) mirror.Status {
	src, _ := s.source.Seen()
	st := mirror.Status{Source: s.opts.sourceStatus(s.source), Remotes: []mirror.RemoteStatus{}}
	for _, name := range s.set.Names() {
		if o, done := outcomes[name]; done {
			remote := o.Copy.Status(src, o.Decision)
			remote.Name = name
			st.Remotes = append(st.Remotes, remote)
		}
	}
	s.set.Describe(st.Remotes)
	return st
}
