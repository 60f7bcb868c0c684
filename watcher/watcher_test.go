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

// Which of the three voices counts: each case is a story, and what is seen at its end.
func TestWhichViewCounts(t *testing.T) {
	type story func(*Watcher[string], *cluster)
	get := func(version string) story {
		return func(w *Watcher[string], c *cluster) {
			c.get = answer(secretAt(version), nil)
			if version == "absent" {
				c.get = answer(nil, errNotFound)
			}
			if _, err := w.Get(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	event := func(version string) story {
		return func(w *Watcher[string], _ *cluster) { _ = store[string]{w}.Update(secretAt(version)) }
	}
	gone := func(version string) story {
		return func(w *Watcher[string], _ *cluster) { _ = store[string]{w}.Delete(secretAt(version)) }
	}
	list := func(version string, items ...any) story {
		return func(w *Watcher[string], _ *cluster) { _ = store[string]{w}.Replace(items, version) }
	}
	wrote := func(version string) story {
		return func(w *Watcher[string], _ *cluster) { w.Wrote(secretAt(version)) }
	}
	// during is a GET that is answered with version after the watch brought event.
	during := func(version string, bring story) story {
		return func(w *Watcher[string], c *cluster) {
			c.get = func() (*corev1.Secret, error) { bring(w, c); return secretAt(version), nil }
			if _, err := w.Get(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	absentDuring := func(bring story) story {
		return func(w *Watcher[string], c *cluster) {
			c.get = func() (*corev1.Secret, error) { bring(w, c); return nil, errNotFound }
			if _, err := w.Get(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	for what, tc := range map[string]struct {
		tale []story
		seen string
		sure bool
	}{
		"nothing":                                      {nil, "", false},
		"the watch goes on":                            {[]story{event("5"), event("6")}, "6", true},
		"the watch lags behind a GET":                  {[]story{get("6"), event("5")}, "6", true},
		"the watch catches up with a GET":              {[]story{get("6"), event("5"), event("7")}, "7", true},
		"a GET rewinds":                                {[]story{event("9"), get("4")}, "4", true},
		"after a rewind the watch counts again":        {[]story{event("9"), get("4"), event("5")}, "5", true},
		"the watch lags behind our own write":          {[]story{event("5"), wrote("7"), event("6")}, "7", true},
		"a rival was faster than our answer":           {[]story{event("5"), event("8"), wrote("7")}, "8", true},
		"deleted":                                      {[]story{event("5"), gone("6")}, "absent", true},
		"deleted before our write":                     {[]story{event("5"), wrote("7"), gone("6")}, "7", true},
		"absent, says a GET, and then it is there":     {[]story{get("absent"), event("5")}, "5", true},
		"a list without it":                            {[]story{event("5"), list("9")}, "absent", true},
		"a list that lags":                             {[]story{get("6"), list("5", secretAt("5"))}, "6", false},
		"a list of a restored cluster, then a GET":     {[]story{event("9"), list("5", secretAt("5")), get("5")}, "5", true},
		"a list with others alone":                     {[]story{list("9", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "other"}})}, "absent", true},
		"a GET is overtaken by the watch":              {[]story{during("5", event("6"))}, "6", true},
		"a GET is overtaken by an older event":         {[]story{get("4"), during("7", event("6"))}, "7", true},
		"a GET finds nothing, and the watch something": {[]story{event("4"), absentDuring(event("5"))}, "absent", false},
		"a GET finds the end of a rewind meanwhile":    {[]story{event("9"), during("4", event("8"))}, "4", true},
	} {
		t.Run(what, func(t *testing.T) {
			c := &cluster{}
			w := versions(c, Options[string]{})
			for _, chapter := range tc.tale {
				chapter(w, c)
			}
			if seen, sure := w.Seen(); seen != tc.seen || sure != tc.sure {
				t.Errorf("seen %q, sure %v; want %q, %v", seen, sure, tc.seen, tc.sure)
			}
		})
	}
}

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
	if seen, sure := w.Seen(); seen != "5" || !sure {
		t.Errorf("after a failure %q, %v is seen", seen, sure)
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
}

// A WATCH that is never answered does not keep the watcher, and its connection, for ever.
func TestWatchHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(secretAt("5"), nil), hang: true}
		var timeouts atomic.Int32
		w := versions(c, Options[string]{TimedOut: func() { timeouts.Add(1) }})
		_, err := w.begin(t.Context(), metav1.ListOptions{})
		synctest.Wait()
		if err == nil || timeouts.Load() != 1 {
			t.Errorf("error %v, %d time-outs", err, timeouts.Load())
		}
	})
}

// Where the token may read and not watch, the reflector ends, and does not
// list for ever; the watch is tried again, ever more seldom.
func TestForbiddenWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(secretAt("5"), nil), watchErr: errForbidden}
		w := versions(c, Options[string]{})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { w.Run(ctx) })
		time.Sleep(24 * time.Hour)
		if _, watches := c.counts(); watches < 24 || watches > 150 {
			t.Errorf("%d WATCHes in a day", watches)
		}
		cancel()
		run.Wait()
	})
}

// An API server that starts forbids everything for a moment. That is no reason
// to stop watching.
func TestForbiddenAtAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(nil, errForbidden), watchErr: errForbidden}
		w := versions(c, Options[string]{})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { w.Run(ctx) })
		time.Sleep(time.Minute)
		c.mu.Lock()
		c.get, c.watchErr, c.watches = answer(secretAt("5"), nil), nil, 0
		c.mu.Unlock()
		time.Sleep(2 * watchRetryMax)
		if _, watches := c.counts(); watches == 0 {
			t.Error("the watch is not back within seconds")
		}
		cancel()
		run.Wait()
	})
}

// With Poll the Secret is read again and again, soon after a failure, and at
// once when the watch breaks.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{get: answer(secretAt("5"), nil)}
		w := versions(c, Options[string]{Poll: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { w.poll(ctx) })
		time.Sleep(time.Hour)
		if gets, _ := c.counts(); gets < 50 || gets > 61 {
			t.Errorf("%d GETs in an hour", gets)
		}
		c.mu.Lock()
		c.get, c.gets = answer(nil, errForbidden), 0
		c.mu.Unlock()
		time.Sleep(time.Hour)
		if gets, _ := c.counts(); gets < 500 || gets > 1500 {
			t.Errorf("%d GETs in an hour of failures", gets)
		}
		cancel()
		run.Wait()
	})
}
