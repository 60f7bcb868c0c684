package clusters

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// lookEvery is how soon a change of the directory takes effect.
const lookEvery = time.Second

// Options are a [Set]'s. All are needed.
type Options struct {
	// Namespace is where the Secret is, unless a kubeconfig names another.
	Namespace string
	// Timeout bounds a request.
	Timeout time.Duration
	// UserAgent is what we call ourselves.
	UserAgent string
	// Follow makes the watcher of a remote's Secret.
	Follow Follow
	// Changed is called after a remote came, went or got another client, or
	// its kubeconfig was refused. It must not block.
	Changed func(remote string)
	Log     *slog.Logger
}

// Set is the remotes there are. Its methods may be called concurrently.
type Set struct {
	opts Options

	mu      sync.Mutex
	members map[string]*member
	// running is the context of Run; nil before, when no remote is followed.
	running   context.Context
	followers sync.WaitGroup
}

// member is a remote, by the newest file and by the newest good one.
type member struct {
	tried  [sha256.Size]byte
	err    error // of the newest file; nil where that is the good one
	good   [sha256.Size]byte
	remote *Remote // of the newest good file; nil where there never was one
	stop   func()
}

// NewSet makes a set without remotes.
func NewSet(opts Options) *Set {
	return &Set{opts: opts, members: map[string]*member{}}
}

// Names of all remotes, also of those without a usable kubeconfig, in order.
func (s *Set) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.members))
}

// Remote is the live remote of that name, made from its newest good
// kubeconfig; nil where there is none. The error is why the newest kubeconfig
// is refused.
func (s *Set) Remote(name string) (*Remote, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[name]
	if m == nil {
		return nil, nil
	}
	return m.remote, m.err
}

// Run keeps the set as the directory is, and follows its remotes, until ctx is
// done. It returns when all it started has ended.
func (s *Set) Run(ctx context.Context, dir string) {
	s.mu.Lock()
	s.running = ctx
	s.mu.Unlock()
	defer s.followers.Wait()
	defer s.close()
	seed := maphash.MakeSeed()
	var last uint64
	var trouble string
	for tick := time.NewTicker(lookEvery); ; {
		if now := signature(dir, seed); now != last {
			files, err := ReadDir(dir)
			if err == nil {
				trouble = ""
				s.Apply(files)
				if !slices.ContainsFunc(files, func(f File) bool { return f.unread }) {
					last = now
				}
			} else if err.Error() != trouble {
				trouble = err.Error()
				s.opts.Log.Warn("the remotes stay as they are", "error", err.Error())
			}
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// Apply makes the set the remotes of files, whose names differ. A file of
// equal bytes changes nothing; one that is refused leaves the last good client
// in place. Nothing is asked of a remote.
func (s *Set) Apply(files []File) {
	s.mu.Lock()
	var changed []string
	there := map[string]bool{}
	for _, f := range files {
		there[f.Name] = true
		if s.put(f) {
			changed = append(changed, f.Name)
		}
	}
	for name, m := range s.members {
		if !there[name] {
			m.close()
			delete(s.members, name)
			changed = append(changed, name)
			s.opts.Log.Info("remote removed", "remote", name)
		}
	}
	s.mu.Unlock()
	for _, name := range changed {
		s.opts.Changed(name)
	}
}

// put takes a remote's newest file and says whether that changed anything.
func (s *Set) put(f File) bool {
	m := s.members[f.Name]
	if m == nil {
		m = &member{stop: func() {}}
		s.members[f.Name] = m
	}
	text := f.Data
	if f.Err != nil {
		text = []byte(f.Err.Error())
	}
	hash := sha256.Sum256(text)
	if hash == m.tried {
		return false
	}
	m.tried = hash
	log := s.opts.Log.With("remote", f.Name)
	if m.remote != nil && hash == m.good {
		m.err = nil
		log.Info("kubeconfig put right")
		return true
	}
	remote, err := s.open(f)
	if err != nil {
		m.err = fmt.Errorf("reading kubeconfig %s: %w", f.Name, err)
		log.Warn("kubeconfig refused", "error", err.Error(), "lastGoodInUse", m.remote != nil)
		return true
	}
	m.close()
	m.remote, m.good, m.err = remote, hash, nil
	m.stop = s.follow(remote)
	log.Info("remote taken up", "server", remote.Address())
	return true
}

// open makes the live remote of a file.
func (s *Set) open(f File) (*Remote, error) {
	if f.Err != nil {
		return nil, f.Err
	}
	cfg, namespace, err := parseKubeconfig(f.Data)
	if err != nil {
		return nil, err
	}
	if namespace == "" {
		namespace = s.opts.Namespace
	}
	cfg.Wrap(spare)
	conn, err := Connect(cfg, s.opts.UserAgent)
	if err != nil {
		return nil, err
	}
	secrets := conn.Core.Secrets(namespace)
	return &Remote{
		server: cfg.Host, conn: conn, secrets: secrets, timeout: s.opts.Timeout,
		follower: s.opts.Follow(f.Name, secrets, conn.Reset),
	}, nil
}

// close ends all clients, without a word about remotes that are still meant.
func (s *Set) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		m.close()
	}
}

// follow watches a remote, where the set runs, until the returned function is called.
func (s *Set) follow(r *Remote) (stop func()) {
	if s.running == nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(s.running)
	s.followers.Go(func() { r.follower.Run(ctx) })
	return stop
}

func (m *member) close() {
	m.stop()
	if m.remote != nil {
		m.remote.conn.Close()
	}
}
