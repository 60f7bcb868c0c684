package pusher

import (
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// resyncJitter spreads out the reads of many remotes and replicas.
	resyncJitter = 0.2
	// maxPutOff is how long a watch can put off a read by proving that it works, unless Resync
	// is longer. The jitter reduces it.
	maxPutOff = 10 * time.Minute
)

// reads schedules the reads of a remote with GET. The zero value means that a read is due.
type reads struct {
	done time.Time // when the remote was last read
	next time.Time
	last time.Time // the latest time to which a watch can put off next
}

// readsAfter returns the schedule after a read that is done now.
func readsAfter(now time.Time, resync time.Duration) reads {
	next := now.Add(wait.Jitter(resync, resyncJitter))
	last := now.Add(wait.Jitter(time.Duration(float64(maxPutOff)/(1+resyncJitter)), resyncJitter))
	return reads{now, next, last}
}

// due reports whether a remote must be read now. If so, a read stays due until one succeeds. If the
// watch has confirmed the copy since the last read, due puts off the next read until the watch is
// overdue: API servers send a bookmark every minute.
func (r *reads) due(remote Remote, resync time.Duration) bool {
	now := time.Now()
	if now.Before(r.next) {
		return false
	}
	if _, confirmed := remote.Copy(); confirmed.After(r.done) && now.Before(r.last) {
		if r.next = confirmed.Add(time.Duration((1 + resyncJitter) * float64(resync))); r.next.After(r.last) {
			r.next = r.last
		}
	}
	if now.Before(r.next) {
		return false
	}
	*r = reads{}
	return true
}
