package ground

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

// Version is the Secret as it was at one resourceVersion.
type Version struct {
	// Secret is the object; of a deletion, its last state under the deletion's
	// resourceVersion.
	Secret  *corev1.Secret
	Deleted bool
	// Seen is when etcd's watch delivered it: moments after the commit.
	Seen time.Time
}

// Keys is the version's data; nil for a deletion.
func (v Version) Keys() Repository {
	if v.Deleted {
		return nil
	}
	return v.Secret.Data
}

// History records every version of one Secret, in order. It reads etcd's own
// log, so that it has no gap when the API server is frozen, killed or
// restarted. Its methods may be called concurrently.
type History struct {
	name string // for messages
	key  string
	etcd *Etcd
	stop func()

	mu       sync.Mutex
	versions []Version
	changed  chan struct{} // closed and replaced at each new version
	err      error         // why nothing is added any more
}

// Follow records the Secret from its present version on, until ctx ends or
// Stop is called.
func (c *Cluster) Follow(ctx context.Context, namespace string) (*History, error) {
	h := &History{
		name:    "the Secret in " + c.Name,
		key:     "/" + c.Name + "/secrets/" + namespace + "/" + SecretName,
		etcd:    c.Etcd,
		changed: make(chan struct{}),
	}
	present, revision, err := h.etcd.read(ctx, h.key)
	if err == nil && present != nil {
		err = h.record(*present, false)
	}
	if err != nil {
		return nil, fmt.Errorf("following %s: %w", h.name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() {
		err := h.etcd.watch(ctx, h.key, revision+1, h.record)
		if ctx.Err() != nil {
			err = errors.New("it was stopped")
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.err = fmt.Errorf("following %s: %w", h.name, err)
		h.announce()
	})
	h.stop = func() { cancel(); following.Wait() }
	return h, nil
}

// Stop ends the recording; the versions stay. Who waits for more gets an error.
func (h *History) Stop() { h.stop() }

// Versions returns what was recorded so far. Before asserting on all of them,
// call CatchUp.
func (h *History) Versions() []Version {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.versions)
}

// CatchUp blocks until the record reaches the Secret's present state. An error
// may also be that the record is not complete.
func (h *History) CatchUp(ctx context.Context) error {
	present, _, err := h.etcd.read(ctx, h.key)
	if err != nil {
		return fmt.Errorf("following %s: %w", h.name, err)
	}
	for {
		h.mu.Lock()
		versions, changed, err := h.versions, h.changed, h.err
		h.mu.Unlock()
		if reaches(versions, present) {
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

// reaches tells whether the record is as new as what etcd holds.
func reaches(versions []Version, present *stored) bool {
	if present == nil {
		return len(versions) == 0 || versions[len(versions)-1].Deleted
	}
	return slices.ContainsFunc(versions, func(v Version) bool {
		return v.Secret.ResourceVersion == strconv.FormatInt(present.Revision, 10)
	})
}

// Await blocks until some version, recorded already or not, is as wanted, and
// returns the first such one.
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

// record takes one stored object from etcd.
func (h *History) record(object stored, deleted bool) error {
	decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(object.Value, nil, nil)
	if err != nil {
		return fmt.Errorf("decoding revision %d: %w", object.Revision, err)
	}
	secret, ok := decoded.(*corev1.Secret)
	if !ok {
		return fmt.Errorf("decoding revision %d: a %T, no Secret", object.Revision, decoded)
	}
	secret.ResourceVersion = strconv.FormatInt(object.Revision, 10)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.versions = append(h.versions, Version{Secret: secret, Deleted: deleted, Seen: time.Now()})
	h.announce()
	return nil
}

// announce wakes who waits; h.mu is held.
func (h *History) announce() {
	close(h.changed)
	h.changed = make(chan struct{})
}
