package telemetry

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/utils/ptr"
)

// Each replica that pushes a rotation creates one event: when all reachable remotes have
// the keys, or after 10 s. The event names at most five remotes without them.
func TestKeysPushed(t *testing.T) {
	rotated := pushed(mirror.ReasonRotated, "")
	rotated.Rotation = true
	at := func(name string, s mirror.State) mirror.RemoteStatus {
		return mirror.RemoteStatus{Name: name, State: s}
	}
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{}
		e := api.replica(t, "a", slog.New(slog.DiscardHandler))
		api.replica(t, "b", slog.New(slog.DiscardHandler)) // this replica has not pushed the rotation
		api.set(at("dfw", mirror.StateSynced), at("iad", mirror.StateBehind), at("home", mirror.StateSelf))
		e.Pushed("dfw", rotated)
		time.Sleep(3 * time.Second)
		api.expect(t)
		api.set(at("dfw", mirror.StateSynced), at("iad", mirror.StateSynced), at("home", mirror.StateSelf))
		e.Pushed("iad", rotated)
		time.Sleep(time.Second)
		api.expect(t, "Normal KeysPushed the keys with primary 9 are in 2 of 2 remotes")
		rotated.Decision.Secret.Annotations[mirror.StampVersion] = "4712" // another annotation of the source has changed
		e.Pushed("ord", rotated)                                          // ord was unreachable for a long time
		time.Sleep(time.Minute)
		api.expect(t)

		rotated.Decision.Secret.Annotations[mirror.StampKeys] = "0=c,10=a"
		lacking := []mirror.RemoteStatus{at("dfw", mirror.StateSynced), at("iad", mirror.StateBehind)}
		for n := range 6 {
			lacking = append(lacking, at(fmt.Sprint("r", n), mirror.StateUnreachable))
		}
		api.set(lacking...)
		e.Pushed("dfw", rotated)
		time.Sleep(arrivalTimeout - time.Second)
		api.expect(t)
		time.Sleep(2 * time.Second)
		api.expect(t, "Warning KeysPushed the keys with primary 9 are in 1 of 8 remotes; not in iad (Behind), r0 (Unreachable), r1 (Unreachable), r2 (Unreachable), r3 (Unreachable) and 2 more")
	})
}

// If the new kubeconfig of a remote is rejected, the last valid one still delivers the
// keys.
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

// If the source no longer belongs to a main region, a rotation is not reported, and the remotes are
// not polled indefinitely.
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
				t.Errorf("%s: the remotes were polled %d times", state, api.looks)
			}
		})
	}
}

// Credentials whose renewal is overdue cause one event per day.
func TestCredentialsExpireEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &cluster{}
		api.replica(t, "a", slog.New(slog.DiscardHandler))
		in := func(d time.Duration) *time.Time { return ptr.To(time.Now().Add(d)) }
		api.set(mirror.RemoteStatus{Name: "dfw", CredentialsDue: in(-13 * 24 * time.Hour), CredentialsExpire: in(15 * 24 * time.Hour)}, mirror.RemoteStatus{Name: "iad"})
		time.Sleep(time.Hour)
		api.expect(t)
		time.Sleep(24 * time.Hour)
		api.expect(t, "Warning CredentialsExpire dfw: its credentials expire in 14d; renew the token or the certificate in its kubeconfig: fernetcast renew dfw")
		time.Sleep(22 * time.Hour)
		api.expect(t)
		time.Sleep(14 * 24 * time.Hour)
		if events := api.take(); len(events) != 14 || !strings.Contains(strings.Join(events, ""), "have expired") {
			t.Errorf("in 14 days %d events: %s", len(events), strings.Join(events, "\n"))
		}
	})
}

// A failover takes over all remotes. One event summarizes the failover, and there are few others.
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
			t.Errorf("a failover caused %d events: %s", len(events), strings.Join(events, "\n"))
		}
	})
}
