package mirror

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// maxShownKeys limits the number of keys that a status lists. Only a Secret that is not a key set
// has more.
const maxShownKeys = 200

// Status describes the source and the remotes. It is the document that /statusz and status -o json
// return. Fields may be added, but are never renamed. An unknown value is null, or "" if it is a
// string.
type Status struct {
	Source  SourceStatus   `json:"source"`
	Remotes []RemoteStatus `json:"remotes"` // sorted by name
}

// SourceStatus describes the source in a [Status].
type SourceStatus struct {
	// Region is the main region's name, even if the source is only a copy of its keys
	// (SourceStandby).
	Region          string              `json:"region"`
	Term            *int                `json:"term"`
	Namespace       string              `json:"namespace"`
	Secret          string              `json:"secret"`
	ResourceVersion string              `json:"resourceVersion"`
	State           SourceState         `json:"state"`
	Detail          string              `json:"detail"`
	Primary         *int                `json:"primary"`
	Staged          bool                `json:"staged"`
	RotatedAt       *time.Time          `json:"rotatedAt"`
	Keys            keyset.Fingerprints `json:"keys"`
	// UID is the UID of the Secret, or "" if it does not exist.
	UID types.UID `json:"-"`
	// Unserved reports whether Detail comes from [Source.Unserved].
	Unserved bool `json:"-"`
	// Stale reports whether the last attempt to read the source failed.
	Stale bool `json:"-"`
}

// RemoteStatus describes a remote in a [Status]. CredentialsDue, when to renew the credentials,
// and CredentialsExpire come from the token or the client certificate.
type RemoteStatus struct {
	Name string `json:"name"`
	// Namespace is the namespace of the remote's Secret.
	Namespace             string              `json:"namespace"`
	Server                string              `json:"server"`
	State                 State               `json:"state"`
	Reason                Reason              `json:"reason"`
	Detail                string              `json:"detail"`
	Primary               *int                `json:"primary"`
	Behind                *int                `json:"behind"`
	PushedResourceVersion string              `json:"pushedResourceVersion"`
	LastPushed            *time.Time          `json:"lastPushed"`
	LastSynced            *time.Time          `json:"lastSynced"`
	NextTry               *time.Time          `json:"nextTry"`
	CredentialsDue        *time.Time          `json:"credentialsDue"`
	CredentialsExpire     *time.Time          `json:"credentialsExpire"`
	Keys                  keyset.Fingerprints `json:"keys"`
	// Counts are exported only as metrics.
	Counts Counts `json:"-"`
	// Copy is the remote's Secret, for [Status.Advised].
	Copy Copy `json:"-"`
}

// Overdue reports whether the credentials should have been renewed: half of the time between due
// and expiry has passed. The alert FernetcastCredentialsExpire has the same rule.
func (r RemoteStatus) Overdue(now time.Time) bool {
	due, expire := r.CredentialsDue, r.CredentialsExpire
	return due != nil && expire != nil && expire.Sub(now) <= expire.Sub(*due)/2
}

// Well reports whether the source is well and every remote is well. A main region without remotes isn't
// well: its list of remotes may have been deleted.
func (s Status) Well() bool {
	for _, r := range s.Remotes {
		if !r.State.Well() {
			return false
		}
	}
	return s.Source.Well() && (s.Source.State != SourceMain || len(s.Remotes) > 0)
}

// Well reports whether the last read of the source succeeded and the source is a Main or a Standby.
func (s SourceStatus) Well() bool {
	return !s.Stale && !s.Unserved && (s.State == SourceMain || s.State == SourceStandby)
}

// Status returns the source's status. trouble is the error of the last attempt to read the source,
// or "" if it succeeded.
func (s Source) Status(namespace, name string, trouble string) SourceStatus {
	st := SourceStatus{
		Region: s.redact(s.owner.Region), Namespace: namespace, Secret: name, ResourceVersion: versionForm.FindString(s.ResourceVersion()), UID: s.UID(),
		State: s.State(), Detail: s.detail, RotatedAt: s.Written(), Keys: s.set.Fingerprints(),
	}
	if s.owner.Term > 0 {
		st.Term = &s.owner.Term
	}
	if advice := s.advice(); advice != "" {
		st.Detail += "; " + advice
	}
	st.Primary, st.Staged = primary(st.Keys), st.Keys.Staged() != ""
	if s.State() == SourceMain && !st.Staged {
		st.Detail = "no staged key 0: after the next rotation, remotes reject new tokens until it is pushed"
	}
	if trouble != "" {
		st.Detail, st.Stale = s.redact(trouble), true
	}
	return st
}

// Status returns the status of the copy relative to src, after decision d.
func (c Copy) Status(src Source, d Decision) RemoteStatus {
	st := RemoteStatus{
		Name: c.place.Remote, State: d.State, Reason: d.Reason, Detail: d.Detail,
		Primary: primary(c.prints), Behind: src.generations(c.prints),
		PushedResourceVersion: c.claims.pushed, LastPushed: c.lastPushed(), Keys: c.prints, Copy: c,
	}
	if len(c.prints) > maxShownKeys {
		st.Keys = nil
	}
	return st
}

// idleAfter is the age of keys after which a remote that lacks them suggests that no run pushes.
const idleAfter = 2 * time.Minute

// Idle returns a message, to be followed by the command that shows the log, if nothing seems to push: the
// source's keys are old, and a remote is Behind. Otherwise, it returns "".
func (s Status) Idle(now time.Time) string {
	at := s.Source.RotatedAt
	behind := slices.ContainsFunc(s.Remotes, func(r RemoteStatus) bool { return r.State == StateBehind })
	if !behind || s.Source.Detail != "" || at == nil || now.Sub(*at) < idleAfter {
		return ""
	}
	last := "never"
	for _, r := range s.Remotes {
		if text := ptr.Deref(r.LastPushed, time.Time{}).Format(time.RFC3339); r.LastPushed != nil && (last == "never" || text > last) {
			last = text
		}
	}
	return fmt.Sprintf("remotes lack keys that were written at %s (last push: %s), so fernetcast may not be running; see its log: ", at.Format(time.RFC3339), last)
}

// Named returns the status of the remote with this name, which replaces NAME in suggested commands.
func (r RemoteStatus) Named(name string) RemoteStatus {
	r.Name, r.Detail = name, strings.ReplaceAll(r.Detail, " NAME", " "+name)
	return r
}

func primary(p keyset.Fingerprints) *int {
	if n := p.Primary(); n > 0 {
		return &n
	}
	return nil
}

// Counts holds the numbers of this process's writes and requests to a remote.
type Counts struct {
	// Pushes counts the writes that were sent, by result.
	Pushes map[Result]int
	// Repairs counts the writes that undid another writer's change.
	Repairs int
	// Requests counts all requests since the remote got its current client.
	Requests map[Request]int
}

// Request identifies a kind of request in [Counts].
type Request struct {
	Method string
	// Code is the HTTP status code, "other" for a code that API servers don't use, or "none" if
	// there was no response.
	Code string
}

// Result classifies a write.
type Result string

// Results of a write.
const (
	ResultPushed      Result = "pushed"
	ResultConflict    Result = "conflict" // another writer was faster
	ResultDenied      Result = "denied"
	ResultUnreachable Result = "unreachable"
	ResultFailed      Result = "failed"
)

// ResultOf classifies a failed write. err must be neither nil nor a conflict.
func ResultOf(err error) Result {
	switch FailureOf(err).State {
	case StateDenied:
		return ResultDenied
	case StateUnreachable:
		return ResultUnreachable
	}
	return ResultFailed
}

// Push describes a write that a remote has acknowledged.
type Push struct {
	Decision Decision
	// Rotation reports whether the write brought the source's newest keys to an older copy.
	Rotation bool
	// Repair reports whether the write undid another writer's change.
	Repair bool
	// Took is the time since the sync started.
	Took time.Duration
	// Lag is the time since this process saw the rotation. It is 0 for a write that isn't due to a
	// rotation, and for keys that were already there at startup.
	Lag time.Duration
}
