package mirror

import (
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
	"k8s.io/apimachinery/pkg/types"
)

// mostShownKeys bounds what is shown of a Secret that is no key set.
const mostShownKeys = 200

// Status is what is known of source and remotes: the document of /statusz and
// of status -o json. Fields are added, never renamed; what is not known is null,
// or "" for a text.
type Status struct {
	Source  SourceStatus   `json:"source"`
	Remotes []RemoteStatus `json:"remotes"` // by name
}

// SourceStatus is the source's part of a [Status].
type SourceStatus struct {
	// Region is the main's name, and for a StateStandby that of its main.
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
	// UID is the Secret's; "" where there is none.
	UID types.UID `json:"-"`
	// Stale says that the last try to read the source failed.
	Stale bool `json:"-"`
}

// RemoteStatus is one remote's part of a [Status]. CredentialsExpire is what our
// credentials there say of themselves.
type RemoteStatus struct {
	Name string `json:"name"`
	// Namespace is where its Secret is.
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
	// Counts is for /metrics alone.
	Counts Counts `json:"-"`
}

// Well says whether the source is a main or a standby that can be read, and every
// remote is well.
func (s Status) Well() bool {
	for _, r := range s.Remotes {
		if !r.State.Well() {
			return false
		}
	}
	return s.Source.Well()
}

// Well says whether the source is a main or a standby that can be read.
func (s SourceStatus) Well() bool {
	return !s.Stale && (s.State == SourceMain || s.State == SourceStandby)
}

// Status tells what the source is. trouble is why the last try to read
// it failed, "" where it did not.
func (s Source) Status(namespace, name string, trouble string) SourceStatus {
	st := SourceStatus{
		Region: s.redact(s.owner.Region), Namespace: namespace, Secret: name, ResourceVersion: s.ResourceVersion(), UID: s.UID(),
		State: s.State(), Detail: s.detail, RotatedAt: s.Written(), Keys: s.set.Fingerprints(),
	}
	if s.owner.Term > 0 {
		st.Term = &s.owner.Term
	}
	if s.State() == SourceUnpromoted {
		st.Detail += "; if this cluster is the main: " + s.promoteCommand()
	}
	st.Primary, st.Staged = primary(st.Keys), st.Keys.Staged() != ""
	if s.State() == SourceMain && !st.Staged {
		st.Detail = "no staged key 0: the next rotation's primary is not known to the remotes beforehand"
	}
	if trouble != "" {
		st.Detail, st.Stale = s.redact(trouble), true
	}
	return st
}

// Status tells what was decided of the copy, and what it is against src.
func (c Copy) Status(src Source, d Decision) RemoteStatus {
	st := RemoteStatus{
		Name: c.place.Remote, State: d.State, Reason: d.Reason, Detail: d.Detail,
		Primary: primary(c.prints), Behind: src.generations(c.prints),
		PushedResourceVersion: c.claims.pushed, LastPushed: c.lastPushed(), Keys: c.prints,
	}
	if len(c.prints) > mostShownKeys {
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

// Counts is what this process has done at a remote.
type Counts struct {
	// Pushes are the writes that were sent, by how they ended.
	Pushes map[Result]int
	// Repairs are the drifts that were undone.
	Repairs int
	// Requests are all that were sent since the remote got its present client.
	Requests map[Request]int
}

// Request is what a request is counted by.
type Request struct {
	Method string
	// Code is the answer's HTTP code, "other" for one that an API server does not
	// have, and "none" where there was no answer.
	Code string
}

// Result is how a write ended.
type Result string

// The results of a write.
const (
	ResultPushed      Result = "pushed"
	ResultConflict    Result = "conflict" // another writer was first
	ResultDenied      Result = "denied"
	ResultUnreachable Result = "unreachable"
	ResultFailed      Result = "failed"
)

// ResultOf is how a write ended that returned err, which is neither nil nor a
// conflict.
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
	// Rotation says that it brought the source's newest keys to a copy of older ones.
	Rotation bool
	// Repair says that it undid what another writer did to a copy of ours.
	Repair bool
	// Took is the time since its sync began.
	Took time.Duration
	// Lag is the time since this process saw that rotation; 0 without a rotation, or if
	// the keys were there before the process.
	Lag time.Duration
}
