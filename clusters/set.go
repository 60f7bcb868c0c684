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
	"github.com/fernetcast/fernetcast/internal/logonce"
	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// lookEvery is how often the directory is looked at. An inotify watch would not
// see one that is not there yet, one that is replaced, nor what a link leads to.
const lookEvery = 4 * time.Second

// Options are a [Set]'s. All are needed but Mint.
type Options struct {
	// Namespace is where the Secret is, unless a kubeconfig names another.
	Namespace string
	// Secret is its name.
	Secret string
	// Timeout bounds a request.
	Timeout time.Duration
	// UserAgent is what we call ourselves.
	UserAgent string
	Log       *slog.Logger
	// Mint makes the tokens for kubeconfigs without credentials; where it is nil, those
	// are refused.
	Mint Mint
}

// Events is told of changes while a [Set] runs. Its methods must not block.
type Events interface {
	// ClientChanged: a remote came, went or got another client, or its kubeconfig
	// was refused.
	ClientChanged(remote string)
	// RemoteChanged: others changed its Secret, or may have.
	RemoteChanged(remote string)
	// RemoteAnswered: it has answered a LIST or a WATCH.
	RemoteAnswered(remote string)
}

// Set is the remotes there are. Its methods may be called concurrently.
type Set struct {
	opts Options

	// applying lets one Apply in at a time. Clients are made under it alone: those
	// of a thousand kubeconfigs take a quarter of a second.
	applying sync.Mutex

	mu        sync.Mutex // guards what follows; only Apply changes members
	members   map[string]member
	running   context.Context // Run's; nil before, when no remote is followed
	events    Events
	followers sync.WaitGroup
}

// member is a remote, by the newest file and by the newest good one.
type member struct {
	tried  [sha256.Size]byte
	err    error // of the newest file; nil where that is the good one
	good   [sha256.Size]byte
	remote *Remote           // of the newest good file; nil where there never was one
	data   [sha256.Size]byte // the kubeconfig of remote
	stop   func()
}

// NewSet makes a set without remotes.
func NewSet(opts Options) *Set { return &Set{opts: opts, members: map[string]member{}} }

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
	return m.remote, m.err
}

// Describe adds what the remotes' clients know to their statuses: address, namespace, end of
// the credentials, and requests. It skips a remote that has no client.
func (s *Set) Describe(statuses []mirror.RemoteStatus) {
	for i := range statuses {
		st := &statuses[i]
		if r, _ := s.Remote(st.Name); r != nil {
			st.Server, st.Namespace, st.CredentialsExpire = r.Server, r.Namespace, r.expires
			st.Counts.Requests = r.client.Requests()
		}
	}
}

// Run keeps the set as the directory is, with the tokens in another, and follows its
// remotes, until ctx is done. It returns when all it started has ended.
func (s *Set) Run(ctx context.Context, dir, tokens string, events Events) {
	s.mu.Lock()
	s.running, s.events = ctx, events
	s.mu.Unlock()
	defer s.followers.Wait()
	defer s.close()
	var trouble logonce.Text
	look, kept := directory{path: dir}, directory{path: tokens}
	wait.UntilWithContext(ctx, func(context.Context) {
		if files, tokens := look.changed(), kept.changed(); !files && !tokens {
			return
		}
		files, err := Read(dir, tokens)
		if trouble.ErrorChanged(err) && err != nil {
			s.opts.Log.Warn("the remotes stay as they are", "error", err.Error())
		}
		if err == nil {
			s.Apply(files)
		}
		if err != nil || slices.ContainsFunc(files, func(f File) bool { return f.Err != nil || f.TokenErr != nil }) {
			look.seen = nil // so that it is tried again
		}
	}, lookEvery)
}

// Apply makes the set the remotes of files, whose names differ. A file of
// equal bytes changes nothing; one that is refused leaves the last good client
// in place. Nothing is asked of a remote.
func (s *Set) Apply(files []File) {
	s.applying.Lock()
	defer s.applying.Unlock()
	changed := map[string]member{} // the zero member: its file is gone
	for name := range s.members {
		changed[name] = member{}
	}
	for _, f := range files {
		m := s.members[f.Name]
		if s.take(f, &m) {
			changed[f.Name] = m
		} else {
			delete(changed, f.Name)
		}
	}
	events := s.exchange(changed)
	if events == nil {
		return
	}
	for name := range changed {
		events.ClientChanged(name)
	}
}

// take takes a remote's newest file and says whether that changed anything.
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
	log := s.opts.Log.With("remote", f.Name)
	if m.remote != nil && hash == m.good {
		m.err = nil
		log.Info("kubeconfig put right")
		return true
	}
	remote, err := s.open(f)
	// If only its kept token is bad, a client of the same kubeconfig stays in use.
	if data := sha256.Sum256(f.Data); err == nil || remote != nil && (m.remote == nil || data != m.data) {
		m.remote, m.data = remote, data
	}
	if err != nil {
		m.err = fmt.Errorf("reading kubeconfig %s: %w", f.Name, err)
		log.Warn("kubeconfig refused", "error", err.Error(), "lastGoodInUse", m.remote != nil)
		return true
	}
	m.good, m.err = hash, nil
	log.Info("remote taken up", "server", remote.Server)
	return true
}

// open makes the live remote of a file. With an error it returns a remote as well, if
// the kubeconfig is good and only the token that is kept for it isn't: it then signs in
// with the kubeconfig's own token.
func (s *Set) open(f File) (*Remote, error) {
	if f.Err != nil {
		return nil, f.Err
	}
	parsed, err := kubeconfig.Parse(f.Data, s.opts.Mint != nil)
	if err != nil {
		return nil, err
	}
	var trouble error
	log := s.opts.Log.With("remote", f.Name)
	signIn := SignIn(f.Name, parsed, s.opts.Mint, s.opts.Timeout, log)
	if signIn.Tokens == nil {
		parsed.Token, trouble = f.Bearer(parsed.Token), f.TokenErr
	}
	cfg, namespace := parsed.ClientConfig(), cmp.Or(parsed.Namespace, s.opts.Namespace)
	client, err := kube.New(cfg, kube.Options{UserAgent: s.opts.UserAgent, Timeout: s.opts.Timeout, Remote: true, SignIn: signIn})
	if err != nil {
		return nil, err
	}
	secrets, place := client.Secrets(namespace), mirror.Place{Remote: f.Name, Namespace: namespace, Secret: s.opts.Secret}
	return &Remote{
		Server: cfg.Host, Namespace: namespace, expires: kubeconfig.Expiry(cfg), client: client, secrets: secrets,
		Follower: NewFollower(secrets, s.opts.Secret,
			func(secret *corev1.Secret) mirror.Copy { return mirror.ReadCopy(place, secret) }, log),
	}, trouble
}

// exchange puts the changed members in the place of those before, takes out
// those that are gone, and returns who is to be told; nil where nobody is.
func (s *Set) exchange(changed map[string]member) Events {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, m := range changed {
		if before := s.members[name]; before.remote != m.remote {
			before.close()
			m.stop = s.follow(name, m.remote)
		}
		s.members[name] = m
		if m.remote == nil && m.err == nil {
			delete(s.members, name)
			s.opts.Log.Info("remote removed", "remote", name)
		}
	}
	return s.events
}

// follow follows a remote, where the set runs, until the returned function is called.
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

// close ends all clients. It tells nobody, because no remote was removed.
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
