// Package pusher copies the source's keys to every remote. It queues remotes by name, runs
// one worker per queued remote, and retries with backoff. A sync looks at a remote,
// decides, and writes.
//
// The package does not decide what to write (package mirror does), opens no connections,
// keeps no keys, and never writes the source.
package pusher

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
)

const (
	// heldPause delays the sync of a held remote after an event.
	heldPause = time.Second
)

// Remotes provides the clusters to push to. Implementations must be safe for concurrent
// use.
type Remotes interface {
	// Names returns the names of all remotes, sorted, including those with a rejected
	// kubeconfig.
	Names() []string
	// Remote returns the named remote, or nil if it doesn't exist or never had a valid
	// kubeconfig. The error explains why its newest kubeconfig is rejected. Both results
	// can be non-nil: the last valid kubeconfig stays in use.
	Remote(name string) (Remote, error)
	// Follow starts to watch the named remote, after its first sync.
	Follow(name string)
}

// Options configures a [Pusher]. All fields except Metrics are required.
type Options struct {
	Source  Source
	Remotes Remotes
	// Resync is how often each remote is read with GET, unless its watch proves that it
	// works.
	Resync time.Duration
	// BackoffInitial and BackoffMax are the first and the longest wait after a failure. A
	// contest ends after BackoffMax without drift.
	BackoffInitial, BackoffMax time.Duration
	Log                        *slog.Logger
	Observer                   Observer
	// Metrics creates the metrics of the queue. It may be nil.
	Metrics workqueue.MetricsProvider
}

// Pusher keeps the copy in every remote equal to the source. Its methods are safe for
// concurrent use.
type Pusher struct {
	opts    Options
	limiter *limiter
	queue   workqueue.TypedRateLimitingInterface[string]

	mu      sync.Mutex
	records map[string]*record
	newest  string    // fingerprints that the last SourceChanged saw
	seen    time.Time // when SourceChanged first saw them; zero for the keys found at startup
}

// New returns a Pusher. Call Run to start pushing.
func New(opts Options) *Pusher {
	limiter := newLimiter(opts.BackoffInitial, opts.BackoffMax)
	return &Pusher{
		opts: opts, limiter: limiter, records: map[string]*record{},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig[string](limiter,
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "remotes", MetricsProvider: opts.Metrics}),
	}
}

// SourceChanged enqueues every remote and cancels its backoff.
func (p *Pusher) SourceChanged() {
	src, _ := p.opts.Source.Seen()
	p.sawKeys(src.Fingerprints())
	for _, name := range p.opts.Remotes.Names() {
		p.tryNow(name)
	}
}

// ClientChanged enqueues a remote and cancels its backoff. Call it when a kubeconfig is
// added, removed, or changed.
func (p *Pusher) ClientChanged(name string) { p.tryNow(name) }

func (p *Pusher) tryNow(name string) {
	p.limiter.Forget(name)
	p.queue.Add(name)
}

// RemoteChanged enqueues a remote whose Secret has changed. It does nothing if the remote
// is backing off: the next retry sees the change, and a remote cannot provoke writes at the
// rate of its events. A held remote is enqueued at most once per second, because each sync
// can read the source.
func (p *Pusher) RemoteChanged(name string) {
	switch state := p.record(name).state(); {
	case backsOff(state):
	case state == mirror.StateHeld:
		p.queue.AddAfter(name, heldPause)
	default:
		p.queue.Add(name)
	}
}

// RemoteAnswered reports that a remote has responded to a LIST or WATCH. If the last sync
// could not read the remote, RemoteAnswered enqueues it and cancels its backoff. Until a
// sync succeeds, it does so at most once per BackoffMax.
func (p *Pusher) RemoteAnswered(name string) {
	if p.record(name).answered(p.opts.BackoffMax) {
		p.tryNow(name)
	}
}

// Run pushes until ctx is done, and returns when its workers have ended. Each remote in the
// queue gets its own worker, so no remote waits for another. The queue never hands a remote
// to two workers.
func (p *Pusher) Run(ctx context.Context) {
	var workers sync.WaitGroup
	defer workers.Wait()
	stop := context.AfterFunc(ctx, p.queue.ShutDown)
	defer stop()
	for {
		name, shutdown := p.queue.Get()
		if shutdown {
			return
		}
		workers.Go(func() {
			defer p.queue.Done(name)
			p.work(ctx, name)
		})
	}
}

// work syncs one remote and requeues it.
func (p *Pusher) work(ctx context.Context, name string) {
	remote, refused := p.opts.Remotes.Remote(name)
	r := p.record(name)
	switch {
	case remote == nil && refused == nil: // the kubeconfig was removed
		p.limiter.Forget(name)
		p.mu.Lock()
		delete(p.records, name)
		p.mu.Unlock()
		return
	case remote == nil: // nothing to do until the kubeconfig changes
		p.limiter.Forget(name)
		p.setStatus(name, r, mirror.Decision{State: mirror.StateMisconfigured, Reason: mirror.ReasonKubeconfig, Detail: refused.Error()}, refused)
		return
	}
	started := time.Now()
	r.forRemote(remote)
	s := Sync{Source: p.opts.Source, Known: r.settled.UID, MayWrite: r.mayWrite(p.opts.BackoffMax)}
	// During a contest, another writer would overtake more writes in a row, and a remote
	// could provoke them. Only the first sync after new keys may retry at once.
	if r.contest.on && p.limiter.NumRequeues(name) > 0 {
		s.Tries = 1
	}
	o := s.Run(ctx, remote, r.reads.due(remote, p.opts.Resync))
	if o.Decision.State != mirror.StatePending {
		p.opts.Remotes.Follow(name)
	}
	if ctx.Err() != nil {
		return
	}
	switch {
	case o.Decision.State == mirror.StateUnreachable: // the API server may have stored the write anyway
		r.reads = reads{}
	case o.Looked:
		r.reads = readsAfter(time.Now(), p.opts.Resync)
	}
	before, waited := r.settled, backsOff(r.state())
	d := r.ended(o, p.opts.BackoffMax)
	for _, d := range o.Writes {
		p.pushed(name, r, d, before, time.Since(started))
	}
	p.setStatus(name, r, d, refused)
	if waited && !backsOff(d.State) { // while the remote backed off, RemoteChanged ignored events
		p.queue.Add(name)
	}
	p.requeue(name, r.reads.next, d.State, o.Err)
}

// requeue enqueues the remote again, after its backoff or for its next read.
func (p *Pusher) requeue(name string, nextRead time.Time, state mirror.State, err error) {
	if backsOff(state) {
		retryAfter, _ := apierrors.SuggestsClientDelay(err)
		p.limiter.waitAtLeast(name, time.Duration(retryAfter)*time.Second)
		p.queue.AddRateLimited(name)
		return
	}
	p.limiter.Forget(name)
	next := time.Until(nextRead)
	if next <= 0 { // the decision needed no read of the remote
		next = wait.Jitter(p.opts.Resync, resyncJitter)
	}
	p.queue.AddAfter(name, next)
}

// backsOff reports whether a remote in this state is retried with backoff.
func backsOff(s mirror.State) bool {
	switch s {
	case mirror.StateBehind, mirror.StateContested, mirror.StateDenied, mirror.StateUnreachable, mirror.StateFailed:
		return true
	}
	return false
}

// record returns the remote's record, creating it if necessary.
func (p *Pusher) record(name string) *record {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.records[name]
	if r == nil {
		r = &record{decision: mirror.Decision{State: mirror.StatePending, Reason: mirror.ReasonNotLookedAt, Detail: "not read yet"}}
		p.records[name] = r
	}
	return r
}

// Status returns the status of each remote, sorted by name. It lacks the fields that only
// the remote's client knows.
func (p *Pusher) Status() []mirror.RemoteStatus {
	list := []mirror.RemoteStatus{}
	src, _ := p.opts.Source.Seen()
	for _, name := range p.opts.Remotes.Names() {
		var c mirror.Copy
		if remote, _ := p.opts.Remotes.Remote(name); remote != nil {
			c, _ = remote.Copy()
		}
		st := p.record(name).status(src, c).Named(name)
		st.NextTry = p.limiter.nextTry(name)
		list = append(list, st)
	}
	return list
}
