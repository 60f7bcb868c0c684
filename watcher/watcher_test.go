package watcher

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

func TestMain(m *testing.M) {
	// The second of apimachinery's handlers sleeps by the wall clock, which in
	// a synctest bubble is years ahead.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	goleak.VerifyTestMain(m)
}

const name = "keystone-fernet-keys"

// cluster is a server of one Secret, scripted: what only a real one can show
// is in the end-to-end tests.
type cluster struct {
	mu       sync.Mutex
	get      func() (*corev1.Secret, error)
	watchErr error
	hang     bool // a WATCH gets no answer
	gets     int
	watches  int
	lists    int
}

func (c *cluster) Get(ctx context.Context, _ string, _ metav1.GetOptions) (*corev1.Secret, error) {
	c.mu.Lock()
	c.gets++
	get := c.get
	c.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return get()
}

func (c *cluster) List(context.Context, metav1.ListOptions) (*corev1.SecretList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists++
	return &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}, nil
}

func (c *cluster) Watch(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
	if c.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches++
	if c.watchErr != nil {
		return nil, c.watchErr
	}
	return watch.NewFake(), nil
}

func (c *cluster) counts() (gets, watches int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gets, c.watches
}

func secretAt(version string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}
}

// versions is a watcher whose view is the Secret's resourceVersion, or "absent".
func versions(c *cluster, opts Options[string]) *Watcher[string] {
	opts.Timeout = time.Second
	opts.Parse = func(s *corev1.Secret) string {
		if s == nil {
			return "absent"
		}
		return s.ResourceVersion
	}
	return New(c, name, opts)
}

func answer(secret *corev1.Secret, err error) func() (*corev1.Secret, error) {
	return func() (*corev1.Secret, error) { return secret, err }
}

var (
	errNotFound  = apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	errForbidden = apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, name, errors.New("no"))
)

// Get never shares a request that began before it was called, and callers that
// wait share the next: with one under way, any number need one more.
func TestGetIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{}
		version := atomic.Int64{}
		c.get = func() (*corev1.Secret, error) {
			v := secretAt([]string{"1", "2", "3"}[version.Load()])
			time.Sleep(100 * time.Millisecond)
			return v, nil
		}
		w := versions(c, Options[string]{})
		var callers sync.WaitGroup
		callers.Go(func() { _, _ = w.Get(t.Context()) })
		time.Sleep(10 * time.Millisecond)
		version.Store(1) // the one under way cannot see this
		for range 100 {
			callers.Go(func() {
				if seen, err := w.Get(t.Context()); seen != "2" || err != nil {
					t.Errorf("got %q, %v: from before the call", seen, err)
				}
			})
		}
		callers.Wait()
		if gets, _ := c.counts(); gets != 2 {
			t.Errorf("%d requests, want 2", gets)
		}
	})
}

// A GET that fails leaves what was seen, says why, and closes connections when
// there was no answer.
func TestGetFails(t *testing.T) {
	c := &cluster{get: answer(secretAt("5"), nil)}
	var timeouts int
	w := versions(c, Options[string]{TimedOut: func() { timeouts++ }})
	if _, err := w.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.get = answer(nil, apierrors.NewGenericServerResponse(http.StatusServiceUnavailable, "get", schema.GroupResource{}, name, "", 0, true))
	seen, err := w.Get(t.Context())
	if err == nil || w.Err() == nil || seen != "5" || timeouts != 0 {
		t.Errorf("seen %q, error %v, %d time-outs", seen, err, timeouts)
	}
	synctest.Test(t, func(t *testing.T) {
		slow := &cluster{get: func() (*corev1.Secret, error) { time.Sleep(2 * time.Second); return nil, context.DeadlineExceeded }}
		w := versions(slow, Options[string]{TimedOut: func() { timeouts++ }})
		if _, err := w.Get(t.Context()); err == nil || timeouts != 1 {
			t.Errorf("error %v, %d time-outs", err, timeouts)
		}
	})
	if seen, fresh := w.Seen(); seen != "5" || !fresh {
		t.Errorf("after a failure %q, %v is seen", seen, fresh)
	}
}

// What is seen again unchanged is no change: whoever is told of one reads again.
func TestChangedOnlyWhenItDid(t *testing.T) {
	changed := 0
	c := &cluster{get: answer(nil, errNotFound)}
	w := versions(c, Options[string]{Changed: func() { changed++ }})
	for range 10 {
		if _, err := w.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if changed != 1 {
		t.Errorf("still absent, and it changed %d times", changed)
	}
	w.Wrote(secretAt("5"))
	store[string]{w}.put(secretAt("5"), false)
	if seen, _ := w.Seen(); seen != "5" || changed != 1 {
		t.Errorf("after a write of our own %q is seen, and it changed %d times", seen, changed)
	}
	store[string]{w}.put(secretAt("6"), false)
	if changed != 2 {
		t.Errorf("after a write of another's it changed %d times", changed)
	}
}
