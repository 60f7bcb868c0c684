package mirror

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"k8s.io/apimachinery/pkg/types"
)

// maxShownKeys limits the keys that are shown of a Secret that is not a key set.
const maxShownKeys = 200

// Status describes the source and the remotes. It is the document of /statusz and of status
// -o json. Fields are added, but never renamed. An unknown value is null, or "" if it is a
// string.
type Status struct {
	Source  SourceStatus   `json:"source"`
	Remotes []RemoteStatus `json:"remotes"` // sorted by name
}

// SourceStatus describes the source in a [Status].
type SourceStatus struct {
	// Region is the main region, even if the source is a copy of its keys (SourceStandby).
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
	// Stale reports whether the last attempt to read the source failed.
	Stale bool `json:"-"`
}

// RemoteStatus describes a remote in a [Status]. CredentialsExpire comes from the
// credentials themselves: the token or the client certificate.
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
	CredentialsExpire     *time.Time          `json:"credentialsExpire"`
	Keys                  keyset.Fingerprints `json:"keys"`
	// Counts is only exported as metrics.
	Counts Counts `json:"-"`
}

// Well reports whether the source is readable, is a Main or a Standby, and every remote is
// well.
func (s Status) Well() bool {
	for _, r := range s.Remotes {
		if !r.State.Well() {
			return false
		}
	}
	return s.Source.Well()
}

// Well reports whether the source is readable and is a Main or a Standby.
func (s SourceStatus) Well() bool {
	return !s.Stale && (s.State == SourceMain || s.State == SourceStandby)
}

// Status returns the source's status. trouble explains why the last attempt to read the
// source failed; "" if it succeeded.
func (s Source) Status(namespace, name string, trouble string) SourceStatus {
	st := SourceStatus{
		Region: s.redact(s.owner.Region), Namespace: namespace, Secret: name, ResourceVersion: versionForm.FindString(s.ResourceVersion()), UID: s.UID(),
		State: s.State(), Detail: s.detail, RotatedAt: s.Written(), Keys: s.set.Fingerprints(),
	}
	if s.owner.Term > 0 {
		st.Term = &s.owner.Term
	}
	if s.State() == SourceUnpromoted {
		st.Detail += "; if this cluster should be the main region: " + s.promoteCommand()
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
		PushedResourceVersion: c.claims.pushed, LastPushed: c.lastPushed(), Keys: c.prints,
	}
	if len(c.prints) > maxShownKeys {
		st.Keys = nil
	}
	return st
}

func primary(p keyset.Fingerprints) *int {
	if n := p.Primary(); n > 0 {
		return &n
	}
	return nil
}

// Counts records what this process has done in a remote.
type Counts struct {
	// Pushes counts the sent writes by result.
	Pushes map[Result]int
	// Repairs counts the repaired drifts.
	Repairs int
	// Requests counts all requests since the remote got its current client.
	Requests map[Request]int
}

// Request is the key by which requests are counted.
type Request struct {
	Method string
	// Code is the HTTP status code, "other" for a code that API servers don't use, or
	// "none" without a response.
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

// ResultOf classifies a failed write. err must not be nil or a conflict.
func ResultOf(err error) Result {
	switch FailureOf(err).State {
	case StateDenied:
		return ResultDenied
	case StateUnreachable:
		return ResultUnreachable
	}
	return ResultFailed
}

// Push is a write that a remote has acknowledged.
type Push struct {
	Decision Decision
	// Rotation reports whether the write brought the source's newest keys to an older copy.
	Rotation bool
	// Repair reports whether the write undid another writer's change.
	Repair bool
	// Took is the time since the sync started.
	Took time.Duration
	// Lag is the time since this process saw the rotation. It is 0 for other writes, and
	// for keys that were found at startup.
	Lag time.Duration
}
