package pusher

import (
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// recorder is an Observer that records its calls.
type recorder struct {
	mu     sync.Mutex
	pushes []mirror.Push
	states []mirror.State
}

func (o *recorder) Pushed(_ string, p mirror.Push) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushes = append(o.pushes, p)
}

func (o *recorder) StateChanged(_ string, d mirror.Decision) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.states = append(o.states, d.State)
}

// take returns the only push since the last call.
func (o *recorder) take(t *testing.T) mirror.Push {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pushes) != 1 {
		t.Fatalf("%d pushes, want one", len(o.pushes))
	}
	p := o.pushes[0]
	o.pushes = nil
	return p
}

// observed returns a pusher that has synced the remote, and its observer.
func observed(t *testing.T, src *source, dfw *remote) (*Pusher, *recorder) {
	t.Helper()
	o := &recorder{}
	p := New(Options{Source: src, Remotes: members{"dfw": dfw}, Resync: time.Minute, BackoffInitial: 200 * time.Millisecond,
		BackoffMax: backoffMax, Log: slog.New(slog.DiscardHandler), Observer: o})
	dfw.changed = func() { p.RemoteChanged("dfw") }
	var run sync.WaitGroup
	run.Go(func() { p.Run(t.Context()) })
	t.Cleanup(run.Wait)
	p.SourceChanged()
	synctest.Wait()
	return p, o
}

// Only undoing another writer's change is a repair. A joining remote and a rotation are
// not.
func TestWhatIsARepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p, o := observed(t, src, dfw)
		if joined := o.take(t); joined.Repair || joined.Lag != 0 || joined.Decision.Reason != mirror.ReasonAbsent {
			t.Errorf("a region that joins is reported as %+v", joined)
		}
		older := dfw.secret
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		if rotated := o.take(t); rotated.Repair || rotated.Decision.Reason != mirror.ReasonRotated {
			t.Errorf("a rotation is reported as %+v", rotated)
		}
		for what, change := range map[string]func(){
			"emptied":                        dfw.spoil,
			"set back to older keys of ours": func() { dfw.set(func() { dfw.put(older) }); p.RemoteChanged("dfw") },
			"deleted":                        func() { dfw.set(func() { dfw.secret = nil }); p.RemoteChanged("dfw") },
			"replaced without a stamp": func() {
				dfw.set(func() { s := dfw.secret.DeepCopy(); s.Annotations = nil; dfw.put(s) })
				p.RemoteChanged("dfw")
			},
		} {
			time.Sleep(time.Hour) // otherwise, the next change starts a contest
			change()
			synctest.Wait()
			if repair := o.take(t); !repair.Repair || repair.Lag != 0 {
				t.Errorf("a copy that was %s is reported as %+v", what, repair)
			}
		}
		if n := state(t, p, "dfw").Counts.Repairs; n != 4 {
			t.Errorf("%d repairs are counted, want 4", n)
		}
	})
}

// The lag starts when the change is seen in the source, and includes the time that the
// remote is down.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p, o := observed(t, src, dfw)
		o.take(t)
		dfw.set(func() { dfw.hang = make(chan struct{}) })
		src.rotate()
		p.SourceChanged()
		time.Sleep(7 * time.Second)
		src.edit()
		p.SourceChanged() // with the same keys
		close(dfw.hang)
		synctest.Wait()
		if push := o.take(t); push.Lag != 7*time.Second || push.Took != 7*time.Second {
			t.Errorf("after 7 s, the lag is %v, and the sync took %v", push.Lag, push.Took)
		}
	})
}

// Keys found at startup have no lag, because the time of their rotation is unknown.
func TestNoLagAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		_, o := observed(t, src, dfw)
		o.take(t)
		src.rotate()
		dfw.set(func() { dfw.hang = make(chan struct{}) })
		_, o = observed(t, src, dfw)
		time.Sleep(7 * time.Second)
		close(dfw.hang)
		synctest.Wait()
		if push := o.take(t); push.Lag != 0 || !push.Rotation {
			t.Errorf("the first push of a process is reported as %+v", push)
		}
	})
}

// Each sent write is counted by result, and each state change is reported once.
func TestResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p, o := observed(t, src, dfw)
		src.rotate()
		for _, refuse := range []error{
			apierrors.NewForbidden(resource, "keystone-fernet-keys", nil), apierrors.NewServiceUnavailable("down"),
			apierrors.NewGenericServerResponse(422, "PUT", resource, "", "", 0, true), nil,
		} {
			dfw.set(func() { dfw.refuse = refuse })
			p.SourceChanged()
			synctest.Wait()
		}
		overtaken := false
		dfw.set(func() {
			dfw.rival = func(r *remote) {
				r.mu.Lock()
				defer r.mu.Unlock()
				if !overtaken {
					r.put(r.secret)
				}
				overtaken = true
			}
		})
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		want := map[mirror.Result]int{
			mirror.ResultPushed: 3, mirror.ResultConflict: 1, mirror.ResultDenied: 1, mirror.ResultUnreachable: 1, mirror.ResultFailed: 1,
		}
		if got := state(t, p, "dfw").Counts.Pushes; !maps.Equal(got, want) {
			t.Errorf("pushes %v, want %v", got, want)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		for i, want := range []mirror.State{mirror.StateSynced, mirror.StateDenied, mirror.StateUnreachable, mirror.StateFailed, mirror.StateSynced} {
			if i >= len(o.states) || o.states[i] != want {
				t.Fatalf("reported states %v, want %s at index %d", o.states, want, i)
			}
		}
	})
}

// A standby does not know when a copy last had the main region's keys.
func TestStandbyForgetsLastSynced(t *testing.T) {
	r := &record{decision: mirror.Decision{State: mirror.StateStandby}, lastSynced: &time.Time{}}
	if st := r.status(mirror.Source{}, mirror.Copy{}); st.LastSynced != nil {
		t.Errorf("last synced %v", st.LastSynced)
	}
}
