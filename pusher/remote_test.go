package pusher

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var resource = schema.GroupResource{Resource: "secrets"}

// source is a main region's Secret. Each rotation adds one key.
type source struct {
	mu       sync.Mutex
	rotation int
	edits    int // changes to anything except the keys
	reads    int
	fail     error // result of each read
}

func (s *source) Seen() (mirror.Source, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return mirror.ReadSource(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-fernet-keys", UID: "home", ResourceVersion: strconv.Itoa(1000 + s.rotation + s.edits),
			Annotations: map[string]string{mirror.MarkRegion: "sjc", mirror.MarkTerm: "1", mirror.MarkUID: "home"}},
		Data: repository(s.rotation),
	}), true
}

func (s *source) Get(context.Context) (mirror.Source, error) {
	s.mu.Lock()
	s.reads++
	err := s.fail
	s.mu.Unlock()
	seen, _ := s.Seen()
	return seen, err
}

func (s *source) rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotation++
}

// edit changes metadata only.
func (s *source) edit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edits++
}

// repository returns the three keys after the given number of rotations.
func repository(rotation int) map[string][]byte {
	key := func(n int) []byte {
		return []byte(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{byte(n + 1)}, 32)))
	}
	return map[string][]byte{
		"0": key(rotation + 2), strconv.Itoa(rotation + 1): key(rotation), strconv.Itoa(rotation + 2): key(rotation + 1),
	}
}

// remote is an API server with one Secret that supports compare-and-swap.
type remote struct {
	mu      sync.Mutex
	secret  *corev1.Secret
	version int
	fail    error         // result of every request
	refuse  error         // result of every write
	written func()        // called after each write
	rival   func(*remote) // writes before each of our writes
	hang    chan struct{}
	mangle  bool // whether the server stores something other than the sent Secret
	lose    bool // whether the server stores the next write, but loses its response and event
	lag     *corev1.Secret
	changed func()
	looks   int
	// confirmed is when a GET, or the watch if the test says so, last confirmed the copy.
	confirmed time.Time
	sent      int // all attempted writes
	writes    int
}

func (r *remote) Copy() (mirror.Copy, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lag != nil {
		return mirror.ReadCopy(mirror.Place{Remote: "dfw", Namespace: "openstack", Secret: "keystone-fernet-keys"}, r.lag), r.confirmed
	}
	return mirror.ReadCopy(mirror.Place{Remote: "dfw", Namespace: "openstack", Secret: "keystone-fernet-keys"}, r.secret.DeepCopy()), r.confirmed
}

func (r *remote) Look(context.Context) (mirror.Copy, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return mirror.Copy{}, r.fail
	}
	r.looks++
	r.lag, r.confirmed = nil, time.Now()
	return mirror.ReadCopy(mirror.Place{Remote: "dfw", Namespace: "openstack", Secret: "keystone-fernet-keys"}, r.secret.DeepCopy()), nil
}

func (r *remote) Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error) {
	r.mu.Lock()
	hang, rival, written := r.hang, r.rival, r.written
	r.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return mirror.Copy{}, ctx.Err()
		}
	}
	if rival != nil {
		rival(r)
	}
	if written != nil {
		defer written() // runs after r.mu is unlocked
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent++
	switch {
	case r.fail != nil:
		return mirror.Copy{}, r.fail
	case r.refuse != nil:
		return mirror.Copy{}, r.refuse
	case d.Action == mirror.ActionCreate && r.secret != nil,
		d.Action == mirror.ActionUpdate && (r.secret == nil || r.secret.ResourceVersion != d.Secret.ResourceVersion):
		return mirror.Copy{}, apierrors.NewConflict(resource, "keystone-fernet-keys", errors.New("it was changed"))
	}
	r.writes++
	if r.lose {
		r.lose, r.lag = false, r.secret
		r.put(d.Secret)
		return mirror.Copy{}, &url.Error{Op: "Put", URL: "https://dfw", Err: io.ErrUnexpectedEOF}
	}
	r.put(d.Secret)
	if r.mangle {
		r.secret.Data["0"] = nil
	}
	return mirror.ReadCopy(mirror.Place{Remote: "dfw", Namespace: "openstack", Secret: "keystone-fernet-keys"}, r.secret.DeepCopy()), nil
}

// put stores a Secret with a new resourceVersion. The caller holds r.mu.
func (r *remote) put(s *corev1.Secret) {
	r.version++
	r.secret = s.DeepCopy()
	r.secret.UID, r.secret.ResourceVersion = "far", strconv.Itoa(r.version)
}

// spoil empties the copy like a rival and sends the event.
func (r *remote) spoil() {
	r.mu.Lock()
	s := r.secret.DeepCopy()
	s.Data = nil
	s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "argocd", Time: &metav1.Time{Time: time.Now()}}}
	r.put(s)
	r.mu.Unlock()
	if r.changed != nil {
		r.changed()
	}
}

func (r *remote) counts() (looks, writes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.looks, r.writes
}

// set calls change with r.mu held.
func (r *remote) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *remote) holds(rotation int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.secret != nil && maps.EqualFunc(r.secret.Data, repository(rotation), bytes.Equal)
}

type members map[string]*remote

func (m members) Names() []string { return slices.Sorted(maps.Keys(m)) }

func (m members) Follow(string) {}

func (m members) Remote(name string) (Remote, error) {
	if m[name] == nil {
		return nil, nil
	}
	return m[name], nil
}
