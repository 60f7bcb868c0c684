package mirror

import "time"

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
	// Lag is the time since this process saw that rotation; 0 where there is none,
	// and where the keys were there before the process.
	Lag time.Duration
}
