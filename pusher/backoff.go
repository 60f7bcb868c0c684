package pusher

import (
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"k8s.io/client-go/util/workqueue"
)

var _ workqueue.TypedRateLimiter[string] = (*limiter)(nil)

// limiter is the queue's rate limiter: an exponential back-off with jitter and
// no end for each remote, between initial and highest.
type limiter struct {
	initial, highest time.Duration

	mu    sync.Mutex
	items map[string]*penalty
}

type penalty struct {
	// backoff is not safe for concurrent use.
	backoff *backoff.ExponentialBackOff
	tries   int
	asked   time.Duration
	next    time.Time
}

func newLimiter(initial, highest time.Duration) *limiter {
	return &limiter{initial: initial, highest: highest, items: map[string]*penalty{}}
}

// When is how long the remote has to wait after one more failure.
func (l *limiter) When(remote string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.item(remote)
	wait := min(max(p.backoff.NextBackOff(), p.asked), l.highest)
	p.tries++
	p.asked = 0
	p.next = time.Now().Add(wait)
	return wait
}

func (l *limiter) item(remote string) *penalty {
	p := l.items[remote]
	if p == nil {
		p = &penalty{backoff: backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(l.initial),
			backoff.WithMaxInterval(l.highest),
			// With an end it would return -1, which a queue takes for "now".
			backoff.WithMaxElapsedTime(0),
		)}
		l.items[remote] = p
	}
	return p
}

// ask has the next wait be no shorter than a server's Retry-After, but for the highest.
func (l *limiter) ask(remote string, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.item(remote).asked = wait
}

// Forget ends the remote's waiting.
func (l *limiter) Forget(remote string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.items, remote)
}

// NumRequeues is how many failures the remote has had in a row.
func (l *limiter) NumRequeues(remote string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.items[remote]; p != nil {
		return p.tries
	}
	return 0
}

// next is when a failed remote is tried again; nil where none failed.
func (l *limiter) next(remote string) *time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.items[remote]; p != nil && p.tries > 0 {
		next := p.next.UTC()
		return &next
	}
	return nil
}
