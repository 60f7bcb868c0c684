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
	// arrivalTimeout limits how long an event waits for reachable remotes that lack the
	// rotation.
	arrivalTimeout = 10 * time.Second
	// arrivalPoll is how often the remotes are checked during that time.
	arrivalPoll = 250 * time.Millisecond
	// maxNamed limits how many remotes without the rotation are named.
	maxNamed = 5
	// expiryEvery is the interval of the warnings about credentials of one remote.
	expiryEvery = 24 * time.Hour
	// expiriesPerMinute is less than eventsAtOnce, to leave room for other events.
	expiriesPerMinute = eventsAtOnce / 2
)

// rotation is a rotation that is being pushed to the remotes; zero if there is none.
type rotation struct {
	keys string    // the fingerprints of the keys
	at   time.Time // when this replica first pushed the rotation
}

// next returns a channel that signals the next check of the remotes. It is nil if no
// rotation is in progress.
func (r rotation) next() <-chan time.Time {
	if r.at.IsZero() {
		return nil
	}
	return time.After(arrivalPoll)
}

// event returns the event that reports which remotes have the rotation. It returns false
// while a remote is still being written, for up to arrivalTimeout.
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
		// A rejected kubeconfig is shown as Misconfigured while the last valid one stays in
		// use.
		equal := remote.State == mirror.StateMisconfigured && remote.Behind != nil && *remote.Behind == 0
		if equal || remote.State == mirror.StateSynced {
			has++
		} else {
			lacking = append(lacking, fmt.Sprintf("%s (%s)", remote.Name, remote.State))
		}
	}
	if under > 0 && now.Sub(r.at) < arrivalTimeout {
		return event{}, false
	}
	note := fmt.Sprintf("the keys with primary %d are in %d of %d remotes", *st.Source.Primary, has, has+len(lacking))
	if len(lacking) > 0 {
		note += "; not in " + strings.Join(lacking[:min(len(lacking), maxNamed)], ", ")
	}
	if more := len(lacking) - maxNamed; more > 0 {
		note += fmt.Sprintf(" and %d more", more)
	}
	return event{reason: EventKeysPushed, push: r.keys, note: note, warning: len(lacking) > 0}, true
}

// credentials adds events for credentials whose renewal is overdue.
func (e *Events) credentials() {
	told := 0
	for _, r := range e.opts.Status().Remotes {
		if !r.Overdue(time.Now()) {
			continue
		}
		note := "its credentials have expired; renew the token or the certificate in its kubeconfig: fernetcast renew " + r.Name
		if left := time.Until(*r.CredentialsExpire); left > 0 {
			note = "its credentials expire in " + duration.HumanDuration(left) + "; renew the token or the certificate in its kubeconfig: fernetcast renew " + r.Name
		}
		if e.add(event{reason: EventCredentialsExpire, remote: r.Name, note: note, warning: true, every: expiryEvery}) {
			told++
		}
		if told == expiriesPerMinute {
			return
		}
	}
}

// cut shortens a note to maxNote.
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
