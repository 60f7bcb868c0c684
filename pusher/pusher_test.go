package pusher

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const backoffMax = 30 * time.Second

// started returns a pusher that runs until the test ends.
func started(t *testing.T, src *source, remotes Remotes, resync time.Duration) *Pusher {
	t.Helper()
	p := New(Options{Source: src, Remotes: remotes, Resync: resync, Observer: &recorder{},
		BackoffInitial: 200 * time.Millisecond, BackoffMax: backoffMax, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { p.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return p
}

// running returns a pusher that has synced the remotes and receives their events.
func running(t *testing.T, src *source, m members) *Pusher {
	t.Helper()
	p := started(t, src, m, time.Minute)
	for name, r := range m {
		r.changed = func() { p.RemoteChanged(name) }
	}
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
		expect(t, p, "dfw", mirror.StateSynced)
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

// A hanging remote does not delay the others.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw, iad := &source{}, &remote{hang: make(chan struct{})}, &remote{}
		p := running(t, src, members{"dfw": dfw, "iad": iad})
		const missed = 2 // with three keys, the source still continues dfw's keys
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
			t.Error("dfw does not have the newest keys")
		}
		if _, writes := dfw.counts(); writes > 2 {
			t.Errorf("%d writes, want one or two", writes)
		}
	})
}

// An overtaken write is retried immediately a few times. After that, it is a contest:
// retries are backed off, even if events arrive.
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
			t.Errorf("%d immediate attempts, want %d", overtaken, conflicts)
		}
		expect(t, p, "dfw", mirror.StateContested)
		for range 250 { // without backoff, each event would cause five more attempts
			p.RemoteChanged("dfw")
			time.Sleep(20 * time.Millisecond)
		}
		if overtaken > 10*conflicts {
			t.Errorf("%d attempts during 5 s of events", overtaken)
		}
		dfw.set(func() { dfw.rival = nil })
		time.Sleep(10 * time.Second)
		if !dfw.holds(1) {
			t.Error("the copy does not have the keys 10 s after the rival's last write")
		}
		time.Sleep(time.Minute)
		expect(t, p, "dfw", mirror.StateSynced)
	})
}

// A replica of the same main region that overtakes each write with newer keys is not a
// rival.
func TestOvertakenByOurselves(t *testing.T) {
	src, dfw := &source{}, &remote{}
	s := Sync{Source: src}
	s.Run(t.Context(), dfw, true)
	dfw.rival = func(r *remote) {
		r.mu.Lock()
		defer r.mu.Unlock()
		seen, _ := src.Seen()
		r.put(mirror.Decide(seen, mirror.ReadCopy(mirror.Place{Remote: "dfw", Namespace: "openstack", Secret: "keystone-fernet-keys"}, r.secret), false).Secret)
		src.rotate()
	}
	src.rotate()
	if o := s.Run(t.Context(), dfw, false); o.Overtaken || len(o.Writes) > 0 || !o.Looked {
		t.Errorf("overtaken %v after %d writes", o.Overtaken, len(o.Writes))
	}
}

// While a worker waits for a frozen remote, the remote is shown as Behind, not with its
// state from before the rotation.
func TestStatusOfABusyRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.set(func() { dfw.hang = make(chan struct{}) })
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateBehind)
		if behind := state(t, p, "dfw").Behind; behind == nil || *behind != 1 {
			t.Errorf("behind %v, want 1", behind)
		}
		close(dfw.hang)
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateSynced)
	})
}

// Without events, each remote is read about once per minute, and nothing is written.
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

// confirming confirms the remote's copy every minute, like bookmarks, until stop is called.
func (r *remote) confirming() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		wait.UntilWithContext(ctx, func(context.Context) { r.set(func() { r.confirmed = time.Now() }) }, time.Minute)
	})
	return func() { cancel(); running.Wait() }
}

// While the watch proves that it works, a read is put off for at most ten minutes. When the watch
// stops proving this, the next read comes within 1.5 resync intervals.
func TestProvedWatch(t *testing.T) {
	for _, resync := range []time.Duration{time.Minute, 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			src, dfw := &source{}, &remote{}
			started(t, src, members{"dfw": dfw}, resync).SourceChanged()
			stop := dfw.confirming()
			time.Sleep(24 * time.Hour)
			if looks, _ := dfw.counts(); looks < 144 || looks > 173 { // 8:20 to 10:00 minutes apart
				t.Errorf("resync %v: %d reads in a day", resync, looks)
			}
			for range 50 {
				stop()
				time.Sleep(2 * resync)
				before, _ := dfw.counts()
				dfw.set(func() { dfw.confirmed = time.Now() })
				time.Sleep(resync + resync/2)
				if after, _ := dfw.counts(); after == before {
					t.Fatalf("resync %v: no read within 1.5 resyncs after the last proof", resync)
				}
				stop = dfw.confirming()
				time.Sleep(20 * time.Minute)
			}
			stop()
		})
	}
}

// After a failed read, a working watch doesn't prove that reads and writes work, so the remote
// stays Denied.
func TestProvedWatchOfAFailedRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.set(func() { dfw.fail = apierrors.NewForbidden(resource, "keystone-fernet-keys", errors.New("no")) })
		time.Sleep(2 * time.Minute)
		defer dfw.confirming()()
		for range 300 {
			expect(t, p, "dfw", mirror.StateDenied)
			time.Sleep(time.Second)
		}
	})
}

// If the response to a write is lost, the remote is read before the next write, because it
// may have stored the first one.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		looks, _ := dfw.counts()
		sent := dfw.sent
		dfw.set(func() { dfw.lose = true })
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateUnreachable)
		time.Sleep(time.Second)
		expect(t, p, "dfw", mirror.StateSynced)
		if l, _ := dfw.counts(); l != looks+1 || dfw.sent != sent+1 {
			t.Errorf("%d looks and %d writes were sent; want one each", l-looks, dfw.sent-sent)
		}
	})
}

// A changed kubeconfig can lead to another cluster. It starts without a contest, and an
// earlier canceled backoff does not count.
func TestNewClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, before, after := &source{}, &remote{mangle: true}, &remote{}
		m := members{"dfw": before}
		p := running(t, src, m)
		expect(t, p, "dfw", mirror.StateContested)
		m["dfw"] = after
		p.ClientChanged("dfw")
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateSynced)

		for _, r := range []*remote{after, before} {
			r.set(func() { r.fail, r.mangle = apierrors.NewServiceUnavailable("down"), false })
		}
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		p.RemoteAnswered("dfw") // this sync fails, too
		synctest.Wait()
		m["dfw"] = before
		p.ClientChanged("dfw")
		time.Sleep(10 * time.Second)
		expect(t, p, "dfw", mirror.StateUnreachable)
		before.set(func() { before.fail = nil })
		p.RemoteAnswered("dfw")
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateSynced)
	})
}
