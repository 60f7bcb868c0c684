package watcher

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

func TestMain(m *testing.M) {
	// Apimachinery's second error handler sleeps until a wall-clock time. In a synctest bubble,
	// that time is years away.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	goleak.VerifyTestMain(m)
}

const name = "keystone-fernet-keys"

var (
	errDown = apierrors.NewServiceUnavailable("down")
	errGone = apierrors.NewResourceExpired("compacted")
)

// A cluster is a scripted server with one Secret. End-to-end tests cover the behavior of real
// servers.
type cluster struct {
	mu             sync.Mutex
	version        string // of the Secret; "" if it is absent
	down, watching error  // errors for all requests, and for WATCH only; nil means success
	stalled        bool   // watches deliver no events
	streams        []*watch.FakeWatcher

	gets, lists, watches int
}

func (c *cluster) secret() (*corev1.Secret, error) {
	if c.down != nil {
		return nil, c.down
	}
	if c.version == "" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "openstack", UID: "a-uid", ResourceVersion: c.version}}, nil
}

// Get implements [Secrets].
func (c *cluster) Get(ctx context.Context, _ string) (*corev1.Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gets++
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return c.secret()
}

// List implements [Secrets].
func (c *cluster) List(context.Context, string, metav1.ListOptions) (*corev1.SecretList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists++
	list := &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
	s, err := c.secret()
	if s != nil {
		list.Items, list.ResourceVersion = []corev1.Secret{*s}, s.ResourceVersion
	}
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return list, err
}

// Watch implements [Secrets].
func (c *cluster) Watch(context.Context, string, metav1.ListOptions) (watch.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches++
	if err := errors.Join(c.down, c.watching); err != nil {
		return nil, err
	}
	w := watch.NewFakeWithChanSize(10, false)
	c.streams = append(c.streams, w)
	return w, nil
}

// becomes changes the Secret's version. The open watches deliver the change, unless they are
// stalled.
func (c *cluster) becomes(version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = version
	s, err := c.secret()
	if err != nil || c.stalled {
		return
	}
	for _, w := range c.streams {
		if !w.IsStopped() {
			w.Modify(s)
		}
	}
}

// bring makes the watches deliver one event.
func (c *cluster) bring(kind watch.EventType, version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.streams {
		if !w.IsStopped() {
			w.Action(kind, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "openstack", ResourceVersion: version}})
		}
	}
}

// cut ends all watches. From then on, all requests fail with the error down, or succeed if down is
// nil.
func (c *cluster) cut(down error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	for _, w := range c.streams {
		w.Stop()
	}
	c.streams = nil
}

func (c *cluster) set(change func(*cluster)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// counts returns the number of requests since the last call.
func (c *cluster) counts() (gets, lists, watches int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.gets, c.lists, c.watches = 0, 0, 0 }()
	return c.gets, c.lists, c.watches
}

// watching returns a Watcher for the cluster c.
func watching(c Secrets, opts Options) *Watcher {
	opts.Secrets, opts.Name, opts.Log, opts.Parse = c, name, slog.New(slog.DiscardHandler), mirror.Source.Then
	return New(opts)
}
