package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// cluster is an API server that takes each name once.
type cluster struct {
	mu     sync.Mutex
	events map[string]*eventsv1.Event
	fail   error
	status mirror.Status
	looks  int // at the status
}

func (c *cluster) create(_ context.Context, _ string, e *eventsv1.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return c.fail
	}
	if c.events[e.Name] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, e.Name)
	}
	if c.events == nil {
		c.events = map[string]*eventsv1.Event{}
	}
	c.events[e.Name] = e
	return nil
}

// take returns the events since the last call, as "Type Reason note".
func (c *cluster) take() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for name, e := range c.events {
		list = append(list, e.Type+" "+e.Reason+" "+e.Note)
		c.events[name] = &eventsv1.Event{}
	}
	return without(list, "  ")
}

func without(list []string, text string) (kept []string) {
	for _, l := range list {
		if l != text {
			kept = append(kept, l)
		}
	}
	return kept
}

func (c *cluster) set(remotes ...mirror.RemoteStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = mirror.Status{
		Source:  mirror.SourceStatus{Namespace: "openstack", Secret: "keystone-fernet-keys", UID: "home", State: mirror.SourceMain, Primary: ptr.To(9)},
		Remotes: remotes,
	}
}

func (c *cluster) seen() mirror.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	return c.status
}

// replica runs the events of one replica until the test's end.
func (c *cluster) replica(t *testing.T, name string, log *slog.Logger) *Events {
	e := NewEvents(EventsOptions{Status: c.seen, Create: c.create, Instance: name, Log: log})
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { e.Run(ctx) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return e
}

func (c *cluster) expect(t *testing.T, want ...string) {
	t.Helper()
	got := c.take()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func pushed(reason mirror.Reason, detail string) mirror.Push {
	return mirror.Push{Decision: mirror.Decision{Reason: reason, Detail: detail, Secret: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{mirror.StampVersion: "4711", mirror.StampKeys: "0=a,9=b"}},
	}}}
}

// Each thing that happens has its event, and what is plain has none.
func TestEventOfEachKind(t *testing.T) {
	repair, rotated := pushed(mirror.ReasonDrifted, "changed there by argocd"), pushed(mirror.ReasonRotated, "1 generation behind")
	repair.Repair = true
	for what, c := range map[string]struct {
		tell func(*Events)
		want []string
	}{
		"drift":      {func(e *Events) { e.Pushed("dfw", repair) }, []string{"Warning DriftRepaired dfw: changed there by argocd; the source's keys were put back"}},
		"created":    {func(e *Events) { e.Pushed("dfw", pushed(mirror.ReasonAbsent, "it has no such Secret")) }, []string{"Normal Adopted dfw: it had no such Secret and has the source's keys now"}},
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

// One event in 10 minutes for a reason and remote, from all replicas together,
// and 20 a minute for everything.
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
		for range 9 { // a remote that flips
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
		if n := len(api.take()); n != eventsAtOnce-1 { // one is left for a rotation
			t.Errorf("%d events at once, want %d", n, eventsAtOnce-1)
		}
	})
}

// A rotation has one event from each replica that pushed it: when all have it that
// can be reached, or after 10 s. It names five at most of those that lack it.
func TestKeysPushed(t *testing.T) {
	rotated := pushed(mirror.ReasonRotated, "")
	rotated.Rotation = true
	at := func(name string, s mirror.State) mirror.RemoteStatus {
		return mirror.RemoteStatus{Name: name, State: s}
	}
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{}
		e := api.replica(t, "a", slog.New(slog.DiscardHandler))
		api.replica(t, "b", slog.New(slog.DiscardHandler)) // has pushed nothing
		api.set(at("dfw", mirror.StateSynced), at("iad", mirror.StateBehind), at("home", mirror.StateSelf))
		e.Pushed("dfw", rotated)
		time.Sleep(3 * time.Second)
		api.expect(t)
		api.set(at("dfw", mirror.StateSynced), at("iad", mirror.StateSynced), at("home", mirror.StateSelf))
		e.Pushed("iad", rotated)
		time.Sleep(time.Second)
		api.expect(t, "Normal KeysPushed the keys with primary 9 are in 2 of 2 remotes")
		rotated.Decision.Secret.Annotations[mirror.StampVersion] = "4712" // an annotation of the source's was changed
		e.Pushed("ord", rotated)                                          // which could not be reached for long
		time.Sleep(time.Minute)
		api.expect(t)

		rotated.Decision.Secret.Annotations[mirror.StampKeys] = "0=c,10=a"
		lacking := []mirror.RemoteStatus{at("dfw", mirror.StateSynced), at("iad", mirror.StateBehind)}
		for n := range 6 {
			lacking = append(lacking, at(fmt.Sprint("r", n), mirror.StateUnreachable))
		}
		api.set(lacking...)
		e.Pushed("dfw", rotated)
		time.Sleep(arrival - time.Second)
		api.expect(t)
		time.Sleep(2 * time.Second)
		api.expect(t, "Warning KeysPushed the keys with primary 9 are in 1 of 8 remotes; not in iad (Behind), r0 (Unreachable), r1 (Unreachable), r2 (Unreachable), r3 (Unreachable) and 2 more")
	})
}

// A remote whose new kubeconfig is refused has the keys by the last good one.
func TestKeysPushedByTheLastGoodKubeconfig(t *testing.T) {
	rotated := pushed(mirror.ReasonRotated, "")
	rotated.Rotation = true
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{}
		api.set(mirror.RemoteStatus{Name: "dfw", State: mirror.StateMisconfigured, Behind: ptr.To(0)},
			mirror.RemoteStatus{Name: "iad", State: mirror.StateMisconfigured, Behind: ptr.To(1)})
		api.replica(t, "a", slog.New(slog.DiscardHandler)).Pushed("dfw", rotated)
		time.Sleep(time.Second)
		api.expect(t, "Warning KeysPushed the keys with primary 9 are in 1 of 2 remotes; not in iad (Misconfigured)")
	})
}

// Of a source that is no main any more there is no rotation to tell of, and the
// remotes are not looked at for it again and again.
func TestKeysPushedByNoMain(t *testing.T) {
	rotated := pushed(mirror.ReasonRotated, "")
	rotated.Rotation = true
	for _, state := range []mirror.SourceState{mirror.SourceAbsent, mirror.SourceRefused, mirror.SourceStandby} {
		synctest.Test(t, func(t *testing.T) {
			api := &cluster{}
			api.set(mirror.RemoteStatus{Name: "dfw", State: mirror.StateStandby})
			api.status.Source.State = state
			if state != mirror.SourceStandby {
				api.status.Source.Primary = nil
			}
			api.replica(t, "a", slog.New(slog.DiscardHandler)).Pushed("dfw", rotated)
			time.Sleep(30 * time.Second)
			api.expect(t)
			if api.looks > 40 {
				t.Errorf("%s: the remotes were looked at %d times", state, api.looks)
			}
		})
	}
}

// Whatever a thousand remotes have to tell, a rotation is told of, and all whose
// credentials expire within some hours.
func TestEventsOfMany(t *testing.T) {
	rotated := pushed(mirror.ReasonRotated, "")
	rotated.Rotation = true
	synctest.Test(t, func(t *testing.T) {
		api, soon := &cluster{}, time.Now().Add(10*24*time.Hour)
		var many []mirror.RemoteStatus
		for n := range 1000 {
			many = append(many, mirror.RemoteStatus{Name: fmt.Sprint("r", n), State: mirror.StateSynced, CredentialsExpire: &soon})
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
			t.Error("the rotation is not told of")
		}
		if n := strings.Count(told, "CredentialsExpire"); n != len(many) {
			t.Errorf("the credentials of %d remotes are told of, want %d", n, len(many))
		}
	})
}

// Credentials that expire within 14 days have an event a day.
func TestCredentialsExpireEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{}
		api.replica(t, "a", slog.New(slog.DiscardHandler))
		in := func(d time.Duration) *time.Time { return ptr.To(time.Now().Add(d)) }
		api.set(mirror.RemoteStatus{Name: "dfw", CredentialsExpire: in(15 * 24 * time.Hour)}, mirror.RemoteStatus{Name: "iad"})
		time.Sleep(time.Hour)
		api.expect(t)
		time.Sleep(24 * time.Hour)
		api.expect(t, "Warning CredentialsExpire dfw: its credentials expire in 14d; renew the token or the certificate in its kubeconfig")
		time.Sleep(22 * time.Hour)
		api.expect(t)
		time.Sleep(14 * 24 * time.Hour)
		if events := api.take(); len(events) != 14 || !strings.Contains(strings.Join(events, ""), "have expired") {
			t.Errorf("in 14 days %d events: %s", len(events), strings.Join(events, "\n"))
		}
	})
}

// What fails is said once, delays nobody who tells, and is over when it is.
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
		if n := strings.Count(lines.String(), "cannot be made"); n != 1 {
			t.Errorf("it is said %d times:\n%s", n, &lines)
		}
		api.mu.Lock()
		api.fail = nil
		api.mu.Unlock()
		time.Sleep(time.Hour)
		e.StateChanged("dfw", mirror.Decision{State: mirror.StateHeld, Detail: strings.Repeat("ü", 2000)})
		events := api.take()
		if len(events) != 1 || len(events[0]) > maxNote+len("Warning Held ") || !strings.HasSuffix(events[0], "ü…") {
			t.Errorf("a long text is told as %q", events)
		}
	})
}

// After a failover a thousand remotes are taken over: one event sums that up, and
// few others come beside it.
func TestFailoverIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{}
		var remotes []mirror.RemoteStatus
		for n := range 1000 {
			remotes = append(remotes, mirror.RemoteStatus{Name: fmt.Sprint("r", n), State: mirror.StateSynced})
		}
		api.set(remotes...)
		e := api.replica(t, "a", slog.New(slog.DiscardHandler))
		for _, r := range remotes {
			e.Pushed(r.Name, pushed(mirror.ReasonSuperseded, "iad's"))
		}
		time.Sleep(time.Second)
		events := api.take()
		if sum := "Normal KeysPushed the keys with primary 9 are in 1000 of 1000 remotes"; !slices.Contains(events, sum) || len(events) > eventsAtOnce {
			t.Errorf("a failover has %d events: %s", len(events), strings.Join(events, "\n"))
		}
	})
}

// An event that could not be made is made at the next occasion.
func TestFailedEventIsMadeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{fail: errors.New("no route to host")}
		at := time.Now().Add(time.Hour)
		api.set(mirror.RemoteStatus{Name: "dfw", CredentialsExpire: &at})
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
