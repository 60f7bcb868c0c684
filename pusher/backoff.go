package pusher

import (
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
)

var _ workqueue.TypedRateLimiter[string] = (*limiter)(nil)

// limiter is the queue's rate limiter. Each remote has its own exponential backoff, with
// jitter and without a limit on the number of retries. No wait exceeds highest.
type limiter struct {
	initial, highest time.Duration

	mu    sync.Mutex
	items map[string]*penalty
}

// penalty is the backoff of one remote, guarded by limiter.mu.
type penalty struct {
	backoff *backoff.ExponentialBackOff
	tries   int
	// shortest is the minimum duration of the next wait.
	shortest time.Duration
	// next is when the last wait ends; nil before the first.
	next *time.Time
}

func newLimiter(initial, highest time.Duration) *limiter {
	return &limiter{initial: initial, highest: highest, items: map[string]*penalty{}}
}

// When counts another failure of the remote and returns how long to wait.
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

// item returns the remote's backoff, creating it if necessary. The caller holds l.mu.
func (l *limiter) item(remote string) *penalty {
	p := l.items[remote]
	if p == nil {
		p = &penalty{backoff: backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(l.initial),
			backoff.WithMaxInterval(l.highest),
			// After a maximum elapsed time, NextBackOff would return -1, and the queue would
			// not wait at all.
			backoff.WithMaxElapsedTime(0),
		)}
		l.items[remote] = p
	}
	return p
}

// waitAtLeast makes the remote's next wait last at least retryAfter, but never longer than
// highest.
func (l *limiter) waitAtLeast(remote string, retryAfter time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.item(remote).shortest = retryAfter
}

// Forget cancels the remote's backoff.
func (l *limiter) Forget(remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.items, remote)
}

// NumRequeues returns the number of consecutive failures of the remote.
func (l *limiter) NumRequeues(remote string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ptr.Deref(l.items[remote], penalty{}).tries
}

// nextTry returns when the remote is retried, or nil if it has not failed.
func (l *limiter) nextTry(remote string) *time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ptr.Deref(l.items[remote], penalty{}).next
}
