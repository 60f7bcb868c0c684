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

// watchEvery is the interval at which status --watch, wait, and join read the remotes.
const watchEvery = 2 * time.Second

// A session reads the source and the remotes live, for commands that exit by themselves.
type session struct {
	opts    *options
	secrets *kube.Secrets // in the source's namespace
	source  *watcher.Watcher
	set     *clusters.Set
	log     *slog.Logger
	warned  bool // about missing remotes
}

// open reads the source and the remotes' kubeconfigs. If the source can't be read, open
// returns no error, because the session's status shows the problem.
func (o *options) open(cmd *cobra.Command) (*session, error) {
	s, err := o.session(cmd)
	if err != nil {
		return nil, err
	}
	return s, s.read(cmd.Context())
}

// session returns a session without reading anything.
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
	quiet := slog.New(slog.DiscardHandler) // problems are printed with the outcome
	return &session{opts: o, secrets: secrets, source: o.watcher(secrets, quiet, 0), set: o.remotes(quiet), log: log}, nil
}

// read reads the source and the remotes' kubeconfigs.
func (s *session) read(ctx context.Context) error {
	// The source's status shows the error.
	_, _ = s.source.Get(ctx)
	files, err := s.files(ctx)
	if err != nil {
		return exitError{err}
	}
	s.set.Apply(files)
	return nil
}

// reread is like read. If it can't read the kubeconfigs, it logs a warning and keeps the remotes.
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
	if err != nil { // the tokens in the kubeconfigs are still usable
		return clusters.Files(secret.Data), nil
	}
	return clusters.WithTokens(clusters.Files(secret.Data), kept.Data), nil
}

// warn logs only once per session, because status --watch and wait read repeatedly.
func (s *session) warn(text string, args ...any) {
	if !s.warned {
		s.warned = true
		s.log.Warn(text, args...)
	}
}

// choose returns the sorted names after checking that these remotes exist. Without names, it
// returns all remotes.
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

// look reads the named remotes. It changes nothing.
func (s *session) look(ctx context.Context, names []string) map[string]pusher.Outcome {
	return s.each(ctx, names, pusher.Sync{Source: s.source}.Look)
}

// push updates the named remotes.
func (s *session) push(ctx context.Context, names []string, force bool) map[string]pusher.Outcome {
	return s.each(ctx, names, func(ctx context.Context, remote pusher.Remote) *pusher.Outcome {
		return pusher.Sync{Source: s.source, Force: force}.Run(ctx, remote, true)
	})
}

// each runs step for all named remotes concurrently, and returns the outcomes by name.
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
