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

// watchEvery is how often status --watch and wait look.
const watchEvery = 2 * time.Second

// session is what the commands work on that look, or push, and end: the
// source and the remotes, read live.
type session struct {
	opts    *options
	secrets *kube.Secrets // the source's
	source  *watcher.Watcher
	set     *clusters.Set
	log     *slog.Logger
	warned  bool // that there are no remotes
}

// open reads the source and the remotes' kubeconfigs. A source that does not
// answer is no error yet: the session's status says so.
func (o *options) open(cmd *cobra.Command) (*session, error) {
	s, err := o.session(cmd)
	if err != nil {
		return nil, err
	}
	return s, s.read(cmd.Context())
}

// session has not read anything yet.
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
	quiet := slog.New(slog.DiscardHandler) // what these would log is printed with the outcome
	return &session{opts: o, secrets: secrets, source: o.watcher(secrets, quiet, 0), set: o.remotes(quiet), log: log}, nil
}

// read takes up the remotes' kubeconfigs and the source as they are now.
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

// reread reads both again; remotes that cannot be had stay as they are.
func (s *session) reread(ctx context.Context) {
	if err := s.read(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("the remotes are taken as they were", "error", err)
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
			s.warn("there are no remotes: the directory of kubeconfigs does not exist", "clusters", from)
		}
		return clusters.Read(from, defaultTokens)
	}
	secret, err := s.secrets.Get(ctx, name)
	if apierrors.IsNotFound(err) {
		s.warn("there are no remotes: the Secret with their kubeconfigs does not exist", "namespace", s.opts.namespace, "secret", name)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the remotes' kubeconfigs from %s: %s", from, mirror.Explain(err))
	}
	return clusters.WithTokens(clusters.Files(secret.Data), s.tokens(ctx, name)), nil
}

// tokens are those that renew --self keeps beside the kubeconfigs, where they may be
// read: a kubeconfig has one of its own.
func (s *session) tokens(ctx context.Context, kubeconfigs string) map[string][]byte {
	secret, err := s.secrets.Get(ctx, tokensOf(kubeconfigs))
	if err != nil {
		return nil
	}
	return secret.Data
}

// warn warns once, however often status --watch looks.
func (s *session) warn(text string, args ...any) {
	if !s.warned {
		s.warned = true
		s.log.Warn(text, args...)
	}
}

// choose checks that the named remotes exist; without names it is all of them.
func (s *session) choose(names []string) ([]string, error) {
	all := s.set.Names()
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no remote %q; there are: %s", name, cmp.Or(strings.Join(all, ", "), "none"))
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}

// look looks at every named remote, and changes nothing.
func (s *session) look(ctx context.Context, names []string) map[string]pusher.Outcome {
	return s.each(ctx, names, pusher.Sync{Source: s.source}.Look)
}

// push writes to every named remote what there is to write.
func (s *session) push(ctx context.Context, names []string, force bool) map[string]pusher.Outcome {
	return s.each(ctx, names, func(ctx context.Context, remote pusher.Remote) *pusher.Outcome {
		return pusher.Sync{Source: s.source, Force: force}.Run(ctx, remote, true)
	})
}

// step is a push or a look, at one remote.
type step func(context.Context, pusher.Remote) *pusher.Outcome

// each takes the step at every named remote at once, and returns the outcomes by name.
func (s *session) each(ctx context.Context, names []string, step step) map[string]pusher.Outcome {
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
			o.Decision = pusher.Refused(o.Decision, refused)
			mu.Lock()
			defer mu.Unlock()
			outcomes[name] = *o
		})
	}
	all.Wait()
	return outcomes
}

// status is the document of what came out.
func (s *session) status(outcomes map[string]pusher.Outcome) mirror.Status {
	src, _ := s.source.Seen()
	st := mirror.Status{Source: s.opts.sourceStatus(s.source), Remotes: []mirror.RemoteStatus{}}
	for _, name := range s.set.Names() {
		o, done := outcomes[name]
		if !done {
			continue
		}
		remote, _ := remotes{s.set}.Remote(name)
		st.Remotes = append(st.Remotes, pusher.Named(o.Copy.Status(src, o.Decision), name, remote))
	}
	return st
}
