package pusher

import (
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
)

var _ workqueue.TypedRateLimiter[string] = (*limiter)(nil)

// limiter is the queue's rate limiter. Each remote has an exponential back-off
// of its own, with jitter and without an end. No wait is longer than highest.
type limiter struct {
	initial, highest time.Duration

	mu    sync.Mutex
	items map[string]*penalty
}

// penalty is a remote's back-off. limiter.mu guards it.
type penalty struct {
	backoff *backoff.ExponentialBackOff
	tries   int
	// shortest is the least that the next wait takes.
	shortest time.Duration
	// next is when the last wait ends; nil before the first.
	next *time.Time
}

func newLimiter(initial, highest time.Duration) *limiter {
	return &limiter{initial: initial, highest: highest, items: map[string]*penalty{}}
}

// When counts one more failure of the remote, and returns how long it waits.
func (l *limiter) When(remote string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.item(remote)
	wait := min(max(p.backoff.NextBackOff(), p.shortest), l.highest)
	p.tries++
	p.shortest = 0
	p.next = ptr.To(time.Now().Add(wait).UTC())
	return wait
}

// item returns the remote's back-off, and makes it where there is none. l.mu is held.
func (l *limiter) item(remote string) *penalty {
	p := l.items[remote]
	if p == nil {
		p = &penalty{backoff: backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(l.initial),
			backoff.WithMaxInterval(l.highest),
			// After an end it would return -1, and the queue would not wait at all.
			backoff.WithMaxElapsedTime(0),
		)}
		l.items[remote] = p
	}
	return p
}

// waitAtLeast makes the remote's next wait as long as a server's Retry-After,
// or as highest where that is shorter.
func (l *limiter) waitAtLeast(remote string, retryAfter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.item(remote).shortest = retryAfter
}

// Forget cancels the remote's back-off.
func (l *limiter) Forget(remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.items, remote)
}

// NumRequeues returns how often the remote has failed in a row.
func (l *limiter) NumRequeues(remote string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ptr.Deref(l.items[remote], penalty{}).tries
}

// nextTry returns when a failed remote is tried again; nil where it has not failed.
func (l *limiter) nextTry(remote string) *time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ptr.Deref(l.items[remote], penalty{}).next
}
