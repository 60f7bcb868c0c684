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
	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/fernetcast/fernetcast/watcher"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// watchEvery is the interval at which status --watch, wait, and join read the remotes.
const watchEvery = 2 * time.Second

// tokensSecret contains the tokens from renew --self for the kubeconfigs in defaultSecret.
const tokensSecret = "fernetcast-tokens"

// A session reads the source and the remotes live, for commands that exit by themselves.
type session struct {
	opts   *options
	home   *setup.APIs // the source's cluster
	source *watcher.Watcher
	set    *clusters.Set
	log    *slog.Logger
	warned bool // whether the session has warned about missing remotes
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
	log := o.logger(cmd)
	home, err := o.connect()
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler) // problems are printed with the outcome
	return &session{opts: o, home: home, source: o.watcher(home.Secrets(o.namespace), quiet, 0), set: o.remotes(quiet), log: log}, nil
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
		s.log.Warn("reading failed; using the previous remotes", "error", err.Error())
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
	secrets := s.home.Secrets(s.opts.namespace)
	secret, err := secrets.Get(ctx, name)
	if apierrors.IsNotFound(err) {
		s.warn("there are no remotes: the Secret with the kubeconfigs does not exist", "namespace", s.opts.namespace, "secret", name)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the remotes' kubeconfigs from %s: %s", from, s.opts.unread(err))
	}
	kept, err := secrets.Get(ctx, tokensOf(name))
	if err != nil { // the tokens in the kubeconfigs are still usable
		return clusters.Files(secret.Data), nil
	}
	return clusters.WithTokens(clusters.Files(secret.Data), kept.Data), nil
}

// region returns this region's name: given, or the name in the source's mark if given is "".
func (s *session) region(given string) (string, error) {
	src, _ := s.source.Seen()
	switch {
	case given != "":
		return given, nil
	case src.State() == mirror.SourceMain:
		return src.Owner().Region, nil
	}
	return "", fmt.Errorf("cannot determine this region's name, because Secret %s/%s lacks the main region's mark: promote this region first, or specify its name in Keystone's catalog: --from REGION", s.opts.namespace, s.opts.secret)
}

// stored returns the remotes' kubeconfigs and tokens in the source's cluster, for commands that
// change them with the operator's credentials. It rejects a directory, because these commands can't
// write there.
func (s *session) stored() (access.Stored, error) {
	s.opts.clusters = cmp.Or(s.opts.clusters, defaultSecret)
	name, ok := strings.CutPrefix(s.opts.clusters, secretPrefix)
	if !ok {
		return access.Stored{}, fmt.Errorf("--clusters %q: this command requires secret/NAME", s.opts.clusters)
	}
	return access.Stored{
		Kubeconfigs: access.NewEntries(s.home.Core, s.opts.namespace, name), Tokens: access.NewEntries(s.home.Core, s.opts.namespace, tokensOf(name)),
	}, nil
}

// tokensOf returns the name of the Secret with the tokens for the kubeconfigs in another Secret.
func tokensOf(entries string) string {
	if secretPrefix+entries == defaultSecret {
		return tokensSecret
	}
	return entries + "-tokens"
}

// warn logs only once per session, because status --watch and wait read repeatedly.
func (s *session) warn(text string, args ...any) {
	if !s.warned {
		s.warned = true
		s.log.Warn(text, args...)
	}
}

// choose returns the sorted names, or an error if one of these remotes doesn't exist. Without names,
// it returns all remotes.
func (s *session) choose(names []string) ([]string, error) {
	all := s.set.Names()
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("there is no remote %q; %sexisting remotes: %s", name, similarRemote(name, all), cmp.Or(strings.Join(all, ", "), "none"))
		}
	}
	if len(names) == 0 {
		return all, nil
	}
	return slices.Compact(slices.Sorted(slices.Values(names))), nil
}

// similarRemote returns a question with the remotes that have a similar name, or "".
func similarRemote(name string, all []string) string {
	parent := &cobra.Command{}
	for _, other := range all {
		parent.AddCommand(&cobra.Command{Use: other, Run: func(*cobra.Command, []string) {}})
	}
	return similar(parent, name)
}

// chooseFiles uses files for the session's remotes. It returns the files of the named remotes, or
// all files without names.
func (s *session) chooseFiles(files []clusters.File, names []string) ([]clusters.File, error) {
	s.set.Apply(files)
	names, err := s.choose(names)
	return slices.DeleteFunc(files, func(f clusters.File) bool { return !slices.Contains(names, f.Name) }), err
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
			st.Remotes = append(st.Remotes, o.Copy.Status(src, o.Decision).Named(name))
		}
	}
	if text := src.Unserved(st.Remotes); text != "" && !st.Source.Stale {
		st.Source.Detail, st.Source.Unserved = text, true
	}
	s.set.Describe(st.Remotes)
	return st.Advised()
}
