package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// Important changes cause an event, and ordinary ones don't.
func TestEventOfEachKind(t *testing.T) {
	repair, rotated := pushed(mirror.ReasonDrifted, "changed there by argocd"), pushed(mirror.ReasonRotated, "1 generation behind")
	repair.Repair = true
	for what, c := range map[string]struct {
		tell func(*Events)
		want []string
	}{
		"drift":      {func(e *Events) { e.Pushed("dfw", repair) }, []string{"Warning DriftRepaired dfw: changed there by argocd; the source's keys were restored"}},
		"created":    {func(e *Events) { e.Pushed("dfw", pushed(mirror.ReasonAbsent, "its Secret is missing")) }, []string{"Normal Adopted dfw: the Secret was missing and was created with the source's keys"}},
		"unstamped":  {func(e *Events) { e.Pushed("dfw", pushed(mirror.ReasonUnstamped, "never stamped")) }, []string{"Warning Adopted dfw: never stamped; its keys were replaced by the source's"}},
		"superseded": {func(e *Events) { e.Pushed("dfw", pushed(mirror.ReasonSuperseded, "iad's")) }, []string{"Warning Adopted dfw: iad's; its keys were replaced by the source's"}},
		"held": {func(e *Events) {
			e.StateChanged("dfw", mirror.Decision{State: mirror.StateHeld, Reason: mirror.ReasonOwned, Detail: "owned by iad"})
		}, []string{"Warning Held dfw: owned by iad"}},
		"denied": {func(e *Events) { e.StateChanged("dfw", mirror.Decision{State: mirror.StateDenied, Detail: "401"}) }, []string{"Warning Denied dfw: 401"}},
		"contested": {func(e *Events) {
			e.StateChanged("dfw", mirror.Decision{State: mirror.StateContested, Detail: "by argocd"})
		}, []string{"Warning Contested dfw: by argocd"}},
		"synced":              {func(e *Events) { e.StateChanged("dfw", mirror.Decision{State: mirror.StateSynced}) }, nil},
		"down":                {func(e *Events) { e.StateChanged("dfw", mirror.Decision{State: mirror.StateUnreachable}) }, nil},
		"not the newest keys": {func(e *Events) { e.Pushed("dfw", rotated) }, nil},
		"all held for the source": {func(e *Events) {
			for n := range 1000 {
				e.StateChanged(fmt.Sprint("r", n), mirror.Decision{State: mirror.StateHeld, Reason: mirror.ReasonSourceAbsent, Detail: "source: absent"})
			}
		}, []string{"Warning Held source: absent"}},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &cluster{}
				api.set(mirror.RemoteStatus{Name: "dfw", State: mirror.StateSynced})
				e := api.replica(t, "keystone-api-0", slog.New(slog.DiscardHandler))
				c.tell(e)
				api.expect(t, c.want...)
			})
		})
	}
}

// All replicas together create one event per reason and remote in 10 minutes, and at most
// 20 events per minute.
func TestEventsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{}
		api.set()
		discard := slog.New(slog.DiscardHandler)
		replicas := []*Events{api.replica(t, "a", discard), api.replica(t, "b", discard), api.replica(t, "c", discard)}
		denied := func(remote string) {
			for _, e := range replicas {
				e.StateChanged(remote, mirror.Decision{State: mirror.StateDenied, Detail: "401"})
			}
		}
		for range 9 { // a flapping remote
			denied("dfw")
			time.Sleep(time.Minute)
		}
		api.expect(t, "Warning Denied dfw: 401")
		time.Sleep(2 * time.Minute)
		denied("dfw")
		api.expect(t, "Warning Denied dfw: 401")
		time.Sleep(time.Hour)
		for n := range 90 {
			replicas[0].StateChanged(fmt.Sprint("r", n), mirror.Decision{State: mirror.StateDenied})
		}
		if n := len(api.take()); n != eventsAtOnce-1 { // one token is reserved for a rotation
			t.Errorf("%d events were created immediately, want %d", n, eventsAtOnce-1)
		}
	})
}

// Even if a thousand remotes change state, a rotation is reported, and within hours also
// all credentials that expire soon.
func TestEventsOfMany(t *testing.T) {
	rotated := pushed(mirror.ReasonRotated, "")
	rotated.Rotation = true
	synctest.Test(t, func(t *testing.T) {
		api, begun, soon := &cluster{}, time.Now().Add(-20*24*time.Hour), time.Now().Add(10*24*time.Hour)
		var many []mirror.RemoteStatus
		for n := range 1000 {
			many = append(many, mirror.RemoteStatus{Name: fmt.Sprint("r", n), State: mirror.StateSynced, CredentialsDue: &begun, CredentialsExpire: &soon})
		}
		api.set(many...)
		e := api.replica(t, "a", slog.New(slog.DiscardHandler))
		time.Sleep(2 * time.Minute)
		e.Pushed("r0", rotated)
		for n := range 1000 {
			e.StateChanged(fmt.Sprint("r", n), mirror.Decision{State: mirror.StateDenied})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(4 * time.Hour)
		told := strings.Join(api.take(), "\n")
		if !strings.Contains(told, "KeysPushed") {
			t.Error("the rotation was not reported")
		}
		if n := strings.Count(told, "CredentialsExpire"); n != len(many) {
			t.Errorf("%d remotes with expiring credentials are reported, want %d", n, len(many))
		}
	})
}

// A failure is logged once and never blocks callers. The failure ends when the API server accepts
// events again.
func TestEventsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines strings.Builder
		api := &cluster{fail: errors.New("no route to host")}
		api.set()
		e := api.replica(t, "a", slog.New(slog.NewTextHandler(&lines, nil)))
		for n := range 10 * eventsAtOnce {
			e.StateChanged(fmt.Sprint("r", n), mirror.Decision{State: mirror.StateHeld})
		}
		synctest.Wait()
		if n := strings.Count(lines.String(), "cannot create events"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, &lines)
		}
		api.mu.Lock()
		api.fail = nil
		api.mu.Unlock()
		time.Sleep(time.Hour)
		e.StateChanged("dfw", mirror.Decision{State: mirror.StateHeld, Detail: strings.Repeat("ü", 2000)})
		events := api.take()
		if len(events) != 1 || len(events[0]) > maxNote+len("Warning Held ") || !strings.HasSuffix(events[0], "ü…") {
			t.Errorf("a long text is reported as %q", events)
		}
	})
}

// An event that could not be created is created later.
func TestFailedEventIsMadeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{fail: errors.New("no route to host")}
		due, at := time.Now().Add(-2*time.Hour), time.Now().Add(time.Hour)
		api.set(mirror.RemoteStatus{Name: "dfw", CredentialsDue: &due, CredentialsExpire: &at})
		api.replica(t, "a", slog.New(slog.DiscardHandler))
		time.Sleep(90 * time.Second)
		api.expect(t)
		api.mu.Lock()
		api.fail = nil
		api.mu.Unlock()
		time.Sleep(time.Minute)
		if events := api.take(); len(events) != 1 {
			t.Errorf("events %q", events)
		}
	})
}
