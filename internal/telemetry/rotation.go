package telemetry

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/apimachinery/pkg/util/duration"
)

const (
	// arrival is how long the remotes that can be reached have for a rotation,
	// before it is told of without those that lack it.
	arrival = 10 * time.Second
	// arrivalLook is how often they are looked at meanwhile.
	arrivalLook = 250 * time.Millisecond
	// mostNamed is how many remotes that lack a rotation are named.
	mostNamed = 5
	// expiresSoon is how long before the end of credentials it is told of, once a day.
	expiresSoon, expiryEvery = 14 * 24 * time.Hour, 24 * time.Hour
	// expiriesPerMinute is less than eventsAtOnce, so that credentials leave room for
	// the other events.
	expiriesPerMinute = eventsAtOnce / 2
)

// rotation is one that is on its way to the remotes; zero where none is.
type rotation struct {
	keys string    // their fingerprints
	at   time.Time // when this replica has first pushed it
}

// next tells when to look at the remotes; never while none is on its way.
func (r rotation) next() <-chan time.Time {
	if r.at.IsZero() {
		return nil
	}
	return time.After(arrivalLook)
}

// event tells who has the rotation, once no remote that can be reached lacks it,
// or after so long.
func (r rotation) event(st mirror.Status, now time.Time) (event, bool) {
	has, under := 0, 0
	var lacking []string
	for _, remote := range st.Remotes {
		switch remote.State {
		case mirror.StateSelf, mirror.StateStandby:
			continue
		case mirror.StateBehind, mirror.StatePending:
			under++
		}
		// A refused kubeconfig is shown as Misconfigured while the last good one is in use.
		equal := remote.State == mirror.StateMisconfigured && remote.Behind != nil && *remote.Behind == 0
		if equal || remote.State == mirror.StateSynced {
			has++
		} else {
			lacking = append(lacking, fmt.Sprintf("%s (%s)", remote.Name, remote.State))
		}
	}
	if under > 0 && now.Sub(r.at) < arrival {
		return event{}, false
	}
	note := fmt.Sprintf("the keys with primary %d are in %d of %d remotes", *st.Source.Primary, has, has+len(lacking))
	if len(lacking) > 0 {
		note += "; not in " + strings.Join(lacking[:min(len(lacking), mostNamed)], ", ")
	}
	if more := len(lacking) - mostNamed; more > 0 {
		note += fmt.Sprintf(" and %d more", more)
	}
	return event{reason: EventKeysPushed, push: r.keys, note: note, warning: len(lacking) > 0}, true
}

// credentials tells of those that expire soon, or have.
func (e *Events) credentials() {
	told := 0
	for _, r := range e.opts.Status().Remotes {
		if r.CredentialsExpire == nil || time.Until(*r.CredentialsExpire) > expiresSoon {
			continue
		}
		note := "its credentials have expired; renew the token or the certificate in its kubeconfig: fernetcast renew"
		if left := time.Until(*r.CredentialsExpire); left > 0 {
			note = "its credentials expire in " + duration.HumanDuration(left) + "; renew the token or the certificate in its kubeconfig: fernetcast renew"
		}
		if e.add(event{reason: EventCredentialsExpire, remote: r.Name, note: note, warning: true, every: expiryEvery}) {
			told++
		}
		if told == expiriesPerMinute {
			return
		}
	}
}

// cut bounds a note.
func cut(note string) string {
	if len(note) <= maxNote {
		return note
	}
	end := maxNote - len("…")
	for !utf8.RuneStart(note[end]) {
		end--
	}
	return note[:end] + "…"
}
