package testenv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// Version is one version of the Secret.
type Version struct {
	// Secret is the Secret at this version. For a deletion, it is the Secret's last state, but with
	// the resourceVersion of the deletion.
	Secret  *corev1.Secret
	Deleted bool
	// Seen is when etcd's watch delivered the version, shortly after the commit.
	Seen time.Time
}

// Keys returns the data of the version, or nil for a deletion.
func (v Version) Keys() Repository {
	if v.Deleted {
		return nil
	}
	return v.Secret.Data
}

// History records every version of one Secret, or of all Secrets in a cluster, in order. It reads
// from etcd, so it has no gaps when the API server is frozen, killed, or restarted. Its methods are
// safe for concurrent use.
type History struct {
	name  string // used in error messages
	scope scope
	etcd  *Etcd
	stop  func()

	mu       sync.Mutex
	versions []Version
	changed  chan struct{} // closed and replaced at each new version
	err      error         // why recording ended
}

// Follow records the Secret, starting with its current version, until ctx ends or Stop is called.
func (c *Cluster) Follow(ctx context.Context, namespace string) (*History, error) {
	return c.follow(ctx, "the Secret in "+c.Name, scope{key: "/" + c.Name + "/secrets/" + namespace + "/" + SecretName})
}

// FollowAll is like Follow, but records all Secrets of the cluster with a single watch.
func (c *Cluster) FollowAll(ctx context.Context) (*History, error) {
	// '0' is the character after '/'.
	return c.follow(ctx, "the Secrets in "+c.Name, scope{key: "/" + c.Name + "/secrets/", end: "/" + c.Name + "/secrets0"})
}

func (c *Cluster) follow(ctx context.Context, name string, in scope) (*History, error) {
	h := &History{name: name, scope: in, etcd: c.Etcd, changed: make(chan struct{})}
	present, revision, err := h.etcd.read(ctx, h.scope)
	for _, object := range present {
		if err == nil {
			err = h.record(object, false)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("following %s: %w", h.name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() {
		err := h.etcd.watch(ctx, h.scope, revision+1, h.record)
		if ctx.Err() != nil {
			err = errors.New("recording was stopped")
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.err = fmt.Errorf("following %s: %w", h.name, err)
		h.announce()
	})
	h.stop = func() { cancel(); following.Wait() }
	return h, nil
}

// Stop ends the recording and keeps the versions. Waiting callers get an error.
func (h *History) Stop() { h.stop() }

// Versions returns the versions recorded so far. If a test must check all versions, call CatchUp
// first.
func (h *History) Versions() []Version {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.versions)
}

// CatchUp blocks until the recorded versions include the current state. It returns an error if
// recording ended before that.
func (h *History) CatchUp(ctx context.Context) error {
	present, revision, err := h.etcd.read(ctx, h.scope)
	if err != nil {
		return fmt.Errorf("following %s: %w", h.name, err)
	}
	for {
		h.mu.Lock()
		versions, changed, err := h.versions, h.changed, h.err
		h.mu.Unlock()
		if reaches(versions, present, revision) {
			return nil
		}
		if err == nil {
			err = h.await(ctx, changed)
		}
		if err != nil {
			return err
		}
	}
}

// reaches reports whether versions includes all changes up to revision. present lists the objects
// in etcd at that revision.
func reaches(versions []Version, present []stored, revision int64) bool {
	missing := map[string]bool{}
	for _, object := range present {
		missing[strconv.FormatInt(object.Revision, 10)] = true
	}
	held := maps.Clone(missing)
	last := map[types.UID]Version{}
	for _, v := range versions {
		delete(missing, v.Secret.ResourceVersion)
		last[v.Secret.UID] = v
	}
	for _, v := range last {
		// The object is gone or has changed, but that isn't recorded yet.
		if !v.Deleted && !held[v.Secret.ResourceVersion] && !v.after(revision) {
			return false
		}
	}
	return len(missing) == 0
}

func (v Version) after(revision int64) bool {
	// record stores the etcd revision as the resourceVersion.
	n, _ := strconv.ParseInt(v.Secret.ResourceVersion, 10, 64)
	return n > revision
}

// Await returns the first version for which wanted returns true. It checks the recorded versions
// first, and then waits for new ones.
func (h *History) Await(ctx context.Context, wanted func(Version) bool) (Version, error) {
	for next := 0; ; {
		h.mu.Lock()
		versions, changed, err := h.versions, h.changed, h.err
		h.mu.Unlock()
		for ; next < len(versions); next++ {
			if wanted(versions[next]) {
				return versions[next], nil
			}
		}
		if err == nil {
			err = h.await(ctx, changed)
		}
		if err != nil {
			return Version{}, fmt.Errorf("%d versions seen: %w", len(versions), err)
		}
	}
}

func (h *History) await(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for another version of %s: %w", h.name, context.Cause(ctx))
	}
}

// record adds an object from etcd.
func (h *History) record(object stored, deleted bool) error {
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(object.Value, nil, nil)
	if err != nil {
		return fmt.Errorf("decoding revision %d: %w", object.Revision, err)
	}
	secret, ok := decoded.(*corev1.Secret)
	if !ok {
		return fmt.Errorf("decoding revision %d: %T is not a Secret", object.Revision, decoded)
	}
	secret.ResourceVersion = strconv.FormatInt(object.Revision, 10)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.versions = append(h.versions, Version{Secret: secret, Deleted: deleted, Seen: time.Now()})
	h.announce()
	return nil
}

// announce wakes all waiting callers. The caller must hold h.mu.
func (h *History) announce() {
	close(h.changed)
	h.changed = make(chan struct{})
}
