package pusher

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Each row lists syncs and responses at a time in seconds, and whether a response cancels
// the backoff.
func TestReachabilityRules(t *testing.T) {
	const every = 30 * time.Second
	type step struct {
		at int
		// state after a sync; "" if a read was answered instead.
		state mirror.State
		read  bool
		want  bool
	}
	ended := func(at int, s mirror.State) step { return step{at: at, state: s} }
	answered := func(at int, want bool) step { return step{at: at, want: want} }
	for name, steps := range map[string][]step{
		"back again":                       {ended(2, mirror.StateUnreachable), answered(3, true)},
		"no sync yet":                      {answered(3, false)},
		"denied":                           {ended(2, mirror.StateDenied), answered(3, false)},
		"failed":                           {ended(2, mirror.StateFailed), answered(3, false)},
		"contested":                        {ended(2, mirror.StateContested), answered(3, false)},
		"behind":                           {ended(2, mirror.StateBehind), answered(3, false)},
		"synced":                           {ended(2, mirror.StateUnreachable), ended(3, mirror.StateSynced), answered(4, false)},
		"denied after it was away":         {ended(2, mirror.StateUnreachable), ended(3, mirror.StateDenied), answered(4, false)},
		"only the write failed":            {{at: 2, state: mirror.StateUnreachable, read: true}, answered(3, false)},
		"without success":                  {ended(2, mirror.StateUnreachable), answered(3, true), ended(4, mirror.StateUnreachable), answered(32, false)},
		"without success, then much later": {ended(2, mirror.StateUnreachable), answered(3, true), ended(4, mirror.StateUnreachable), answered(33, true)},
		"denied does not make it good":     {ended(2, mirror.StateUnreachable), answered(3, true), ended(4, mirror.StateDenied), ended(5, mirror.StateUnreachable), answered(6, false)},
		"away twice":                       {ended(2, mirror.StateUnreachable), answered(3, true), ended(4, mirror.StateSynced), ended(6, mirror.StateUnreachable), answered(7, true)},
		"answered twice":                   {ended(2, mirror.StateUnreachable), answered(3, true), answered(3, false)},
	} {
		t.Run(name, func(t *testing.T) {
			var r reachability
			start := time.Now()
			for _, s := range steps {
				if s.state != "" {
					r = r.after(s.state, s.read)
					continue
				}
				var got bool
				if r, got = r.answered(start.Add(time.Duration(s.at)*time.Second), every); got != s.want {
					t.Errorf("at %d: cancels the backoff: %v, want %v", s.at, got, s.want)
				}
			}
		})
	}
}

// While writes fail, the watch is cut repeatedly and brings an event each time. The backoff
// must grow as it does with a stable watch. Its waits are at least half of 200 ms, 300 ms,
// 450 ms, and so on, so a minute has at most 14 of them. If reads fail too, a response can
// cancel the backoff twice per minute.
func TestWatchIsCutWhileWritesFail(t *testing.T) {
	forbidden := apierrors.NewForbidden(resource, "keystone-fernet-keys", nil)
	down := apierrors.NewServiceUnavailable("down")
	for _, tc := range []struct {
		name        string
		write, read error
		want        mirror.State
		most        int
	}{
		{"forbidden", forbidden, nil, mirror.StateDenied, 14},
		{"unavailable", down, nil, mirror.StateUnreachable, 14},
		{"invalid", apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "put", resource, "", "", 0, true), nil, mirror.StateFailed, 14},
		{"forbidden, reads fail too", forbidden, down, mirror.StateUnreachable, 3 * 14},
		{"unavailable, reads fail too", down, down, mirror.StateUnreachable, 3 * 14},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, dfw := &source{}, &remote{}
				p := running(t, src, members{"dfw": dfw})
				dfw.set(func() { dfw.refuse = tc.write })
				src.rotate()
				p.SourceChanged()
				synctest.Wait()
				before := dfw.sent
				for range 60 {
					dfw.set(func() { dfw.fail = tc.read })
					time.Sleep(500 * time.Millisecond)
					dfw.set(func() { dfw.fail = nil })
					p.RemoteAnswered("dfw")
					for range 50 { // a flood of events
						p.RemoteChanged("dfw")
						time.Sleep(10 * time.Millisecond)
					}
				}
				synctest.Wait()
				sent := dfw.sent - before
				if t.Logf("%d writes in a minute", sent); sent > tc.most {
					t.Errorf("%d writes in a minute, want at most %d", sent, tc.most)
				}
				if st := state(t, p, "dfw"); st.State != tc.want && tc.read == nil {
					t.Errorf("%s, want %s", st.State, tc.want)
				}
				dfw.set(func() { dfw.refuse = nil })
				time.Sleep(backoffMax)
				if !dfw.holds(1) {
					t.Error("the copy does not have the keys after the longest wait")
				}
			})
		})
	}
}

// RemoteChanged ignores an event during a retry. When the retry ends the backoff, the event
// must take effect.
func TestEventDuringARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dfw := &source{}, &remote{}
		p := running(t, src, members{"dfw": dfw})
		dfw.set(func() { dfw.fail = apierrors.NewServiceUnavailable("down") })
		src.rotate()
		p.SourceChanged()
		synctest.Wait()
		expect(t, p, "dfw", mirror.StateUnreachable)
		spoiled := false
		dfw.set(func() {
			dfw.fail = nil
			dfw.written = func() {
				if !spoiled {
					spoiled = true
					dfw.spoil()
				}
			}
		})
		time.Sleep(time.Second)
		synctest.Wait()
		if !spoiled || !dfw.holds(1) {
			t.Errorf("the copy is spoiled: %v; the drift was not repaired", spoiled)
		}
	})
}
