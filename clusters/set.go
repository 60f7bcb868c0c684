package clusters

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Options configure a [Set]. All except Mint are required.
type Options struct {
	// Namespace is the Secret's namespace, unless a kubeconfig specifies another.
	Namespace string
	// Secret is the Secret's name.
	Secret string
	// Timeout bounds each request.
	Timeout time.Duration
	// UserAgent is sent with each request.
	UserAgent string
	Log       *slog.Logger
	// Mint issues tokens for kubeconfigs without credentials. If it is nil, they are rejected.
	Mint Mint
}

// Events receives changes while a [Set] runs. Its methods must not block.
type Events interface {
	// ClientChanged is called when a remote is added or removed, gets another client, or has its
	// kubeconfig rejected.
	ClientChanged(remote string)
	// RemoteChanged is called when others have changed the remote's Secret, or may have.
	RemoteChanged(remote string)
	// RemoteAnswered is called when the remote answers a LIST or WATCH.
	RemoteAnswered(remote string)
}

// A Set is the current set of remotes. Its methods are safe for concurrent use.
type Set struct {
	opts Options

	// applying is held while members change. No other lock is held while clients are created,
	// because creating a thousand of them takes a quarter of a second.
	applying sync.Mutex

	mu        sync.Mutex // guards the fields below
	members   map[string]member
	running   context.Context // the context of Run; nil before Run, while no remote is followed
	events    Events
	followers sync.WaitGroup
}

// A member is a remote, with the state of its newest file and of its last good one.
type member struct {
	tried  [sha256.Size]byte
	err    error // the error of the newest file; nil if that is the last good file
	good   [sha256.Size]byte
	remote *Remote           // from the last good file; nil if there was none
	data   [sha256.Size]byte // the hash of the kubeconfig that remote uses
	stop   func()
}

// NewSet returns an empty Set.
func NewSet(opts Options) *Set { return &Set{opts: opts, members: map[string]member{}} }

// Names returns all remotes, sorted, including those without a usable kubeconfig.
func (s *Set) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.members))
}

// Remote returns the live remote from the last good kubeconfig, or nil if there is none. The error
// is set if the newest kubeconfig is rejected.
func (s *Set) Remote(name string) (*Remote, error) {
	m := s.member(name)
	return m.remote, m.err
}

// Follow makes a remote's first watch start. Call it after the first sync.
func (s *Set) Follow(name string) {
	if r, _ := s.Remote(name); r != nil {
		r.Follow()
	}
}

// Describe adds the data of the remotes' clients to statuses: address, namespace, lifetime of the
// credentials, and requests. It skips remotes without a client.
func (s *Set) Describe(statuses []mirror.RemoteStatus) {
	for i := range statuses {
		st := &statuses[i]
		if r, _ := s.Remote(st.Name); r != nil {
			st.Server, st.Namespace = r.Server, r.Namespace
			if r.life != nil {
				st.CredentialsDue, st.CredentialsExpire = &r.life.Due, &r.life.Expires
			}
			st.Counts.Requests = r.client.Requests()
		}
	}
}

// Run keeps the set in sync with a directory of kubeconfigs and a directory of tokens, and follows
// the remotes, until ctx is done. It returns after its goroutines have ended.
func (s *Set) Run(ctx context.Context, dir, tokens string, events Events) {
	s.mu.Lock()
	s.running, s.events = ctx, events
	s.mu.Unlock()
	defer s.followers.Wait()
	defer s.close()
	l := lookout{set: s, dir: dir, tokens: tokens, seen: map[string]*sight{}}
	wait.UntilWithContext(ctx, l.look, lookEvery)
}

// Apply replaces the set's remotes with those in files, which must have distinct names. An
// unchanged file has no effect. If a file is rejected, its last good client stays in use. Apply
// sends no requests.
func (s *Set) Apply(files []File) {
	s.applying.Lock()
	defer s.applying.Unlock()
	for _, name := range s.Names() {
		if !slices.ContainsFunc(files, func(f File) bool { return f.Name == name }) {
			s.remove(name)
		}
	}
	for _, f := range files {
		if m, changed := s.prepare(f); changed {
			s.exchange(f.Name, m)
		}
	}
}

// remove removes a remote if it exists.
func (s *Set) remove(name string) {
	if m := s.member(name); m.remote != nil || m.err != nil {
		s.exchange(name, member{})
	}
}

// prepare returns the new member for a file, and reports whether it has changed.
func (s *Set) prepare(f File) (m member, changed bool) {
	m = s.member(f.Name)
	changed = s.take(f, &m)
	return m, changed
}

func (s *Set) member(name string) member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[name]
}

// take updates a member from its newest file. It reports whether anything changed.
func (s *Set) take(f File, m *member) bool {
	text := f.Data
	if f.Err != nil {
		text = []byte(f.Err.Error())
	}
	hash := sha256.Sum256(slices.Concat(text, []byte{0}, []byte(f.Token), []byte(fmt.Sprint(f.TokenErr))))
	if hash == m.tried {
		return false
	}
	m.tried = hash
	if m.remote != nil && hash == m.good {
		m.err = nil
		return true
	}
	remote, err := s.open(f)
	// If only the separate token is bad, keep a client of the same kubeconfig.
	if data := sha256.Sum256(f.Data); err == nil || remote != nil && (m.remote == nil || data != m.data) {
		m.remote, m.data = remote, data
	}
	if err != nil {
		m.err = fmt.Errorf("reading kubeconfig %s: %w", f.Name, err)
		return true
	}
	m.good, m.err = hash, nil
	return true
}

// open returns the live remote for a file. If only the separate token is unusable, it returns both
// an error and a remote, which uses the kubeconfig's own token.
func (s *Set) open(f File) (*Remote, error) {
	if f.Err != nil {
		return nil, f.Err
	}
	parsed, err := kubeconfig.Parse(f.Data, s.opts.Mint != nil)
	if err != nil {
		return nil, err
	}
	var trouble error
	var other string
	log := s.opts.Log.With("remote", f.Name)
	signIn := SignIn(f.Name, parsed, s.opts.Mint, s.opts.Timeout, log)
	if signIn.Tokens == nil {
		parsed.Token, other = f.Bearer(parsed.Token)
		trouble = f.TokenErr
	}
	cfg, namespace := parsed.ClientConfig(), cmp.Or(parsed.Namespace, s.opts.Namespace)
	client, err := kube.New(cfg, kube.Options{UserAgent: s.opts.UserAgent, Timeout: s.opts.Timeout, Remote: true, SignIn: signIn, OtherToken: other})
	if err != nil {
		return nil, err
	}
	secrets, place := client.Secrets(namespace), mirror.Place{Remote: f.Name, Namespace: namespace, Secret: s.opts.Secret, Cluster: parsed.Cluster}
	return &Remote{
		Server: cfg.Host, Namespace: namespace, life: kubeconfig.LifetimeOf(cfg), client: client, secrets: secrets,
		Follower: NewFollower(secrets, s.opts.Secret,
			func(secret *corev1.Secret) mirror.Copy { return mirror.ReadCopy(place, secret) }, log),
	}, trouble
}

// exchange replaces a member, or removes it if m is the zero member.
func (s *Set) exchange(name string, m member) {
	s.mu.Lock()
	if before := s.members[name]; before.remote != m.remote {
		before.close()
		m.stop = s.follow(name, m.remote)
	}
	s.members[name] = m
	if m.remote == nil && m.err == nil {
		delete(s.members, name)
	}
	events := s.events
	s.mu.Unlock()
	if events != nil {
		events.ClientChanged(name)
	}
}

// follow follows a remote until stop is called. It does nothing if the set isn't running.
func (s *Set) follow(name string, r *Remote) (stop func()) {
	if s.running == nil || r == nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(s.running)
	events := s.events
	s.followers.Go(func() {
		r.Run(ctx, func() { events.RemoteChanged(name) }, func() { events.RemoteAnswered(name) })
	})
	return stop
}

// close closes all clients. It sends no events, because no remote was removed.
func (s *Set) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		m.close()
	}
}

func (m member) close() {
	if m.remote != nil {
		m.stop()
		m.remote.client.Close()
	}
}
