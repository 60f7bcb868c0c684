package pusher

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var resource = schema.GroupResource{Resource: "secrets"}

// source is a main whose keys are those of one rotation after another.
type source struct {
	mu       sync.Mutex
	rotation int
	reads    int
}

func (s *source) Seen() (mirror.Source, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return mirror.ReadSource(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keystone-fernet-keys", UID: "home", ResourceVersion: strconv.Itoa(1000 + s.rotation),
			Annotations: map[string]string{mirror.MarkRegion: "sjc", mirror.MarkTerm: "1", mirror.MarkUID: "home"}},
		Data: repository(s.rotation),
	}), true
}

func (s *source) Get(context.Context) (mirror.Source, error) {
	s.mu.Lock()
	s.reads++
	s.mu.Unlock()
	seen, _ := s.Seen()
	return seen, nil
}

func (s *source) rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotation++
}

// repository has three keys, as after so many rotations.
func repository(rotation int) map[string][]byte {
	key := func(n int) []byte {
		return []byte(base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{byte(n + 1)}, 32)))
	}
	return map[string][]byte{
		"0": key(rotation + 2), strconv.Itoa(rotation + 1): key(rotation), strconv.Itoa(rotation + 2): key(rotation + 1),
	}
}

// remote is an API server with one Secret, as far as compare-and-swap goes.
type remote struct {
	mu      sync.Mutex
	secret  *corev1.Secret
	version int
	fail    error         // of any request
	rival   func(*remote) // writes before each of ours
	hang    chan struct{}
	mangle  bool // what is written is not what was sent
	changed func()
	looks   int
	writes  int
}

func (r *remote) Address() string { return "https://dfw" }

func (r *remote) Copy() (mirror.Copy, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return mirror.ReadCopy("dfw", r.secret.DeepCopy()), r.looks > 0
}

func (r *remote) Look(context.Context) (mirror.Copy, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return mirror.Copy{}, r.fail
	}
	r.looks++
	return mirror.ReadCopy("dfw", r.secret.DeepCopy()), nil
}

func (r *remote) Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error) {
	r.mu.Lock()
	hang, rival := r.hang, r.rival
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
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.fail != nil:
		return mirror.Copy{}, r.fail
	case d.Action == mirror.Create && r.secret != nil,
		d.Action == mirror.Update && (r.secret == nil || r.secret.ResourceVersion != d.Secret.ResourceVersion):
		return mirror.Copy{}, apierrors.NewConflict(resource, "keystone-fernet-keys", errors.New("it was changed"))
	}
	r.writes++
	r.put(d.Secret)
	if r.mangle {
		r.secret.Data["0"] = nil
	}
	return mirror.ReadCopy("dfw", r.secret.DeepCopy()), nil
}

// put stores a Secret under a new version; r.mu is held.
func (r *remote) put(s *corev1.Secret) {
	r.version++
	r.secret = s.DeepCopy()
	r.secret.UID, r.secret.ResourceVersion = "far", strconv.Itoa(r.version)
}

// spoil empties the copy as a rival would, and tells the watch.
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

// set changes how it behaves.
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

func (m members) Remote(name string) (Remote, error) {
	if m[name] == nil {
		return nil, nil
	}
	return m[name], nil
}

// running is a pusher at work in a synctest bubble.
func running(t *testing.T, src *source, m members) *Pusher {
	t.Helper()
	p := New(Options{Source: src, Remotes: m, Resync: time.Minute,
		BackoffInitial: 200 * time.Millisecond, BackoffMax: 30 * time.Second, Log: slog.New(slog.DiscardHandler)})
	for name, r := range m {
		r.changed = func() { p.RemoteChanged(name) }
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { p.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	p.SourceChanged()
	synctest.Wait()
	return p
}

func state(t *testing.T, p *Pusher, name string) mirror.RemoteStatus {
	t.Helper()
	for _, st := range p.Status() {
		if st.Name == name {
			return st
		}
	}
	t.Fatalf("there is no %s", name)
	return mirror.RemoteStatus{}
}

func expect(t *testing.T, p *Pusher, name string, want mirror.State) {
	t.Helper()
	if st := state(t, p, name); st.State != want {
		t.Fatalf("%s is %s (%s: %s), want %s", name, st.State, st.Reason, st.Detail, want)
	}
}

func TestSyncsAndFollowsRotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		expect(t, p, "dfw", mirror.Synced)
		for n := 1; n <= 20; n++ {
			looks, writes := dfw.counts()
			src.rotate()
			p.SourceChanged()
			synctest.Wait()
			if !dfw.holds(n) {
				t.Fatalf("rotation %d has not arrived", n)
			}
			if l, w := dfw.counts(); l != looks || w != writes+1 || src.reads > 1 {
				t.Errorf("rotation %d took %d looks, %d writes and %d reads of the source; want one write", n, l-looks, w-writes, src.reads-1)
			}
		}
	})
}

// A remote that hangs costs itself alone.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw, iad := &source{}, &remote{hang: make(chan struct{})}, &remote{}
		p := running(t, src, members{"dfw": dfw, "iad": iad})
		const missed = 2 // with three keys dfw's are kin still
		for n := 1; n <= missed; n++ {
			src.rotate()
			p.SourceChanged()
			synctest.Wait()
			if !iad.holds(n) || dfw.holds(n) {
				t.Fatalf("rotation %d: iad has it: %v, dfw has it: %v", n, iad.holds(n), dfw.holds(n))
			}
		}
		close(dfw.hang)
		synctest.Wait()
		if !dfw.holds(missed) {
			t.Error("dfw has not got the newest keys")
		}
		if _, writes := dfw.counts(); writes > 2 {
			t.Errorf("%d writes for what one or two do", writes)
		}
	})
}

// A remote that is down is tried ever more seldom, for ever; a new key set, or
// its being alive again, ends the waiting.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.set(func() { dfw.fail = apierrors.NewServiceUnavailable("down") })
		src.rotate()
		p.SourceChanged()
		time.Sleep(time.Hour)
		expect(t, p, "dfw", mirror.Unreachable)
		if next := state(t, p, "dfw").NextTry; next == nil || time.Until(*next) > 30*time.Second {
			t.Errorf("next try at %v", next)
		}
		dfw.set(func() { dfw.fail = nil })
		p.RemoteAnswered("dfw")
		synctest.Wait()
		expect(t, p, "dfw", mirror.Synced)
		if state(t, p, "dfw").NextTry != nil || !dfw.holds(1) {
			t.Error("it still waits")
		}
	})
}

func TestLimiter(t *testing.T) {
	l := newLimiter(200*time.Millisecond, 30*time.Second)
	for try := range 1000 {
		wait := l.When("dfw")
		if wait < 100*time.Millisecond || wait > 30*time.Second {
			t.Fatalf("try %d waits %v", try, wait)
		}
		if try > 50 && wait < 10*time.Second {
			t.Fatalf("try %d waits only %v", try, wait)
		}
	}
	if n := l.NumRequeues("dfw"); n != 1000 {
		t.Errorf("%d requeues", n)
	}
	l.Forget("dfw")
	if wait := l.When("dfw"); wait > 300*time.Millisecond || l.NumRequeues("dfw") != 1 {
		t.Errorf("forgotten, it waits %v", wait)
	}
	l.ask("dfw", 5*time.Second)
	if wait := l.When("dfw"); wait < 5*time.Second || wait > 30*time.Second {
		t.Errorf("asked for 5 s, it waits %v", wait)
	}
	l.ask("dfw", time.Hour)
	if wait := l.When("dfw"); wait != 30*time.Second {
		t.Errorf("asked for an hour, it waits %v", wait)
	}
}

// The first drift is repaired at once. A rival at network speed gets a handful
// of writes, is named, and when it rests the copy is right and the contest over.
func TestContest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.spoil()
		synctest.Wait()
		expect(t, p, "dfw", mirror.Synced)
		_, before := dfw.counts()
		for range 250 { // 5 s of 50 a second
			dfw.spoil()
			time.Sleep(20 * time.Millisecond)
		}
		expect(t, p, "dfw", mirror.Contested)
		if st := state(t, p, "dfw"); !bytes.Contains([]byte(st.Detail), []byte("argocd")) {
			t.Errorf("the rival is not named: %s", st.Detail)
		}
		if _, after := dfw.counts(); after-before > 10 {
			t.Errorf("%d writes in 5 s", after-before)
		}
		time.Sleep(10 * time.Second)
		if !dfw.holds(0) {
			t.Error("not equal 10 s after the rival's last write")
		}
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		if !dfw.holds(1) {
			t.Error("a contest holds a rotation up")
		}
		time.Sleep(2 * time.Minute)
		expect(t, p, "dfw", mirror.Synced)
		dfw.spoil()
		synctest.Wait()
		if !dfw.holds(1) {
			t.Error("after the contest a drift is not repaired at once")
		}
	})
}

// A webhook that alters each write is a rival as well.
func TestMangledWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{mangle: true}
		p := running(t, src, members{"dfw": dfw})
		expect(t, p, "dfw", mirror.Contested)
		if _, writes := dfw.counts(); writes != 1 {
			t.Errorf("%d writes at once", writes)
		}
		time.Sleep(time.Minute)
		if _, writes := dfw.counts(); writes > 20 {
			t.Errorf("%d writes in a minute", writes)
		}
		dfw.set(func() { dfw.mangle = false })
		time.Sleep(2 * time.Minute)
		expect(t, p, "dfw", mirror.Synced)
	})
}

// A contest that ends in a Secret that is not to be written is over: what
// happens next is heeded.
func TestContestEndsWhenHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		for range 3 {
			dfw.spoil()
			synctest.Wait()
		}
		expect(t, p, "dfw", mirror.Contested)
		dfw.set(func() { dfw.secret.Type = corev1.SecretTypeTLS })
		time.Sleep(5 * time.Second)
		expect(t, p, "dfw", mirror.Held)
		dfw.set(func() { dfw.secret = nil })
		dfw.changed()
		time.Sleep(time.Second)
		if !dfw.holds(0) {
			t.Error("it is not made anew")
		}
	})
}

// A drift now and then is no contest.
func TestSeldomDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		for range 5 {
			dfw.spoil()
			synctest.Wait()
			expect(t, p, "dfw", mirror.Synced)
			time.Sleep(40 * time.Second)
		}
	})
}

// A write that was overtaken is decided again, a few times at once, and then
// after a back-off.
func TestConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		overtaken := 0
		dfw.set(func() {
			dfw.rival = func(r *remote) {
				r.mu.Lock()
				defer r.mu.Unlock()
				overtaken++
				r.put(r.secret)
			}
		})
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		if dfw.holds(1) || overtaken != conflicts {
			t.Errorf("%d tries at once, want %d", overtaken, conflicts)
		}
		expect(t, p, "dfw", mirror.Behind)
		dfw.set(func() { dfw.rival = nil })
		time.Sleep(time.Second)
		expect(t, p, "dfw", mirror.Synced)
	})
}

// While a worker is busy with a frozen remote, its status is not what it was
// before the rotation.
func TestStatusOfABusyRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.set(func() { dfw.hang = make(chan struct{}) })
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		expect(t, p, "dfw", mirror.Behind)
		if behind := state(t, p, "dfw").Behind; behind == nil || *behind != 1 {
			t.Errorf("behind %v, want 1", behind)
		}
		close(dfw.hang)
		synctest.Wait()
		expect(t, p, "dfw", mirror.Synced)
	})
}

// A day without an event is a read of each remote a minute and nothing more.
func TestResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		running(t, src, members{"dfw": dfw})
		time.Sleep(24 * time.Hour)
		looks, writes := dfw.counts()
		if looks < 1200 || looks > 1441 || writes != 1 {
			t.Errorf("%d reads and %d writes in a day", looks, writes)
		}
	})
}
