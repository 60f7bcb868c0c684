package pusher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// attended is a remote that records when it receives requests.
type attended struct {
	*remote
	name string
	// slack is added to the deadline for reads, because a contested remote first waits for
	// its backoff.
	slack time.Duration

	mu     sync.Mutex
	turns  []time.Time
	failed bool      // whether the last request failed
	looked time.Time // time of the last successful read
	late   []string
}

func (a *attended) Look(ctx context.Context) (mirror.Copy, error) {
	c, err := a.remote.Look(ctx)
	a.gotRequest(true, err)
	return c, err
}

func (a *attended) Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error) {
	c, err := a.remote.Write(ctx, d)
	a.gotRequest(false, err)
	return c, err
}

func (a *attended) gotRequest(look bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.overdue()
	now := time.Now()
	a.turns, a.failed = append(a.turns, now), err != nil
	if look && err == nil {
		a.looked = now
	}
}

// overdue records a late or missing request. A failed remote must be retried within the
// maximum backoff. All other remotes must be read within the resync interval and its
// jitter. The caller holds a.mu.
func (a *attended) overdue() {
	since, limit := a.looked, resync+resync/5+a.slack
	if a.failed {
		since, limit = a.turns[len(a.turns)-1], backoffMax
	}
	if waited := time.Since(since); waited > limit {
		a.late = append(a.late, fmt.Sprintf("%s, failed before: %v, waited %v", a.name, a.failed, waited))
	}
}

// between returns the times of the requests that arrived between from and to.
func (a *attended) between(from, to time.Time) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.turns), func(at time.Time) bool { return at.Before(from) || at.After(to) })
}

// inStep returns the percentage of one's requests that coincide with a request of other.
func inStep(one, other []time.Time) int {
	const together = 50 * time.Millisecond
	n := 0
	for _, at := range one {
		if slices.ContainsFunc(other, func(b time.Time) bool { return at.Sub(b).Abs() < together }) {
			n++
		}
	}
	return 100 * n / max(1, len(one))
}

// down makes every request fail.
func (a *attended) down() {
	a.set(func() { a.fail = apierrors.NewServiceUnavailable("down") })
}

// up makes requests succeed again.
func (a *attended) up() { a.set(func() { a.fail = nil }) }

func (a *attended) isUp() bool {
	a.remote.mu.Lock()
	defer a.remote.mu.Unlock()
	return a.fail == nil
}

// fleet is a set of remotes that are added and removed while a pusher runs.
type fleet struct {
	push *Pusher

	mu   sync.Mutex
	list map[string]*attended
}

func (f *fleet) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.list))
}

func (f *fleet) Follow(string) {}

func (f *fleet) Remote(name string) (Remote, error) {
	if a := f.of(name); a != nil {
		return a, nil
	}
	return nil, nil
}

func (f *fleet) of(name string) *attended {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list[name]
}

func (f *fleet) all() []*attended {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.list))
}

// add adds a remote, like a new kubeconfig.
func (f *fleet) add(name string, like ...func(*attended)) *attended {
	a := &attended{name: name, looked: time.Now(),
		remote: &remote{changed: func() { f.push.RemoteChanged(name) }}}
	for _, be := range like {
		be(a)
	}
	f.mu.Lock()
	f.list[name] = a
	f.mu.Unlock()
	f.push.ClientChanged(name)
	return a
}

func (f *fleet) remove(name string) {
	f.mu.Lock()
	delete(f.list, name)
	f.mu.Unlock()
	f.push.ClientChanged(name)
}

// inTime fails the test if a request to a remote is late.
func (f *fleet) inTime(t *testing.T) {
	t.Helper()
	for _, a := range f.all() {
		if late := a.lateness(); len(late) > 0 {
			t.Fatalf("at %v: %d times late, first: %s", time.Now(), len(late), late[0])
		}
	}
}

func (a *attended) lateness() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.overdue()
	return a.late
}
