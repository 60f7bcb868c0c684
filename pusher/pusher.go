// Package pusher brings the source's keys to every remote: a queue of names,
// workers, a back-off, and the sync of one remote: look, decide, write.
//
// It does not decide what to write: package mirror does. It opens no connection,
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
	// resyncJitter spreads the reads of many remotes and replicas.
	resyncJitter = 0.2
	// heldPause is how soon a remote that is held is looked at after an event there.
	heldPause = time.Second
)

// Remotes are the clusters to push to. Its methods may be called concurrently.
type Remotes interface {
	// Names returns the names of all, sorted, with those whose kubeconfig is refused.
	Names() []string
	// Remote returns the remote of that name; nil where there is none, or where no
	// good kubeconfig of it was ever seen. The error says why its newest kubeconfig
	// is refused.
	Remote(name string) (Remote, error)
}

// Options are a [Pusher]'s. All but Metrics are needed.
type Options struct {
	Source  Source
	Remotes Remotes
	// Resync is how often each remote is read with GET, whatever its watch says.
	Resync time.Duration
	// BackoffInitial and BackoffMax are the first and the longest wait of a remote
	// that failed. BackoffMax is also how long a contested one has to be quiet.
	BackoffInitial, BackoffMax time.Duration
	Log                        *slog.Logger
	Observer                   Observer
	// Metrics makes the metrics of the queue.
	Metrics workqueue.MetricsProvider
}

// Pusher keeps every remote equal to the source. Its methods may be called concurrently.
type Pusher struct {
	opts    Options
	limiter *limiter
	queue   workqueue.TypedRateLimitingInterface[string]

	mu      sync.Mutex
	records map[string]*record
	newest  string    // the fingerprints of the last keys that SourceChanged has seen
	seen    time.Time // when it has seen them first; zero for the first keys of all
}

// New returns a pusher that does nothing before Run.
func New(opts Options) *Pusher {
	limiter := newLimiter(opts.BackoffInitial, opts.BackoffMax)
	return &Pusher{
		opts: opts, limiter: limiter, records: map[string]*record{},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig[string](limiter,
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "remotes", MetricsProvider: opts.Metrics}),
	}
}

// SourceChanged enqueues every remote and cancels its back-off.
func (p *Pusher) SourceChanged() {
	src, _ := p.opts.Source.Seen()
	p.sawKeys(src.Fingerprints())
	for _, name := range p.opts.Remotes.Names() {
		p.tryNow(name)
	}
}

// ClientChanged enqueues a remote and cancels its back-off. It is to be called
// when a kubeconfig was added, removed or changed.
func (p *Pusher) ClientChanged(name string) { p.tryNow(name) }

func (p *Pusher) tryNow(name string) {
	p.limiter.Forget(name)
	p.queue.Add(name)
}

// RemoteChanged enqueues a remote whose Secret has changed. Where the last sync
// ended in a back-off, it does nothing: the change is seen at the next try, and a
// remote cannot provoke writes at the speed of its events. One that is held is
// enqueued once a second: it may need a read of the source each time.
func (p *Pusher) RemoteChanged(name string) {
	switch state := p.record(name).state(); {
	case backsOff(state):
	case state == mirror.StateHeld:
		p.queue.AddAfter(name, heldPause)
	default:
		p.queue.Add(name)
	}
}

// RemoteAnswered tells that a remote has answered a LIST or a WATCH. It enqueues
// the remote and cancels its back-off where the last sync got no answer to a read,
// once in BackoffMax until a sync succeeds.
func (p *Pusher) RemoteAnswered(name string) {
	if p.record(name).answered(p.opts.BackoffMax) {
		p.tryNow(name)
	}
}

// Run pushes until ctx is done, and returns when its workers have ended. Every
// remote in the queue gets a worker of its own, so that none waits for another;
// the queue itself hands a remote to one worker at a time.
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

// work syncs one remote, and puts it back in the queue.
func (p *Pusher) work(ctx context.Context, name string) {
	remote, refused := p.opts.Remotes.Remote(name)
	r := p.record(name)
	switch {
	case remote == nil && refused == nil: // its kubeconfig was removed
		p.limiter.Forget(name)
		p.mu.Lock()
		delete(p.records, name)
		p.mu.Unlock()
		return
	case remote == nil: // until its kubeconfig changes
		p.limiter.Forget(name)
		p.setStatus(name, r, mirror.Decision{State: mirror.StateMisconfigured, Reason: mirror.ReasonKubeconfig, Detail: refused.Error()}, refused)
		return
	}
	started := time.Now()
	r.forRemote(remote)
	s := Sync{Source: p.opts.Source, Known: r.settled.UID, MayWrite: r.mayWrite(p.opts.BackoffMax)}
	// After the first try that a contest or new keys are worth, more writes in a row
	// would be overtaken as well, and a remote could provoke them.
	if r.contest.on && p.limiter.NumRequeues(name) > 0 {
		s.Tries = 1
	}
	o := s.Run(ctx, remote, !started.Before(r.lookAt))
	if ctx.Err() != nil {
		return
	}
	if o.Looked {
		r.lookAt = time.Now().Add(wait.Jitter(p.opts.Resync, resyncJitter))
	}
	if o.Decision.State == mirror.StateUnreachable { // the write may have been done all the same
		r.lookAt = time.Time{}
	}
	before, waited := r.settled, backsOff(r.state())
	d := r.ended(o, p.opts.BackoffMax)
	for _, d := range o.Writes {
		p.pushed(name, r, d, before, time.Since(started))
	}
	p.setStatus(name, r, d, refused)
	if waited && !backsOff(d.State) { // RemoteChanged did not enqueue it meanwhile
		p.queue.Add(name)
	}
	p.requeue(name, r.lookAt, d.State, o.Err)
}

// requeue enqueues the remote again: after a back-off, or for its next read.
func (p *Pusher) requeue(name string, lookAt time.Time, state mirror.State, err error) {
	if backsOff(state) {
		retryAfter, _ := apierrors.SuggestsClientDelay(err)
		p.limiter.waitAtLeast(name, time.Duration(retryAfter)*time.Second)
		p.queue.AddRateLimited(name)
		return
	}
	p.limiter.Forget(name)
	next := time.Until(lookAt)
	if next <= 0 { // the source alone decided, so it was not read
		next = wait.Jitter(p.opts.Resync, resyncJitter)
	}
	p.queue.AddAfter(name, next)
}

// backsOff says whether a remote in this state is tried again after a back-off.
func backsOff(s mirror.State) bool {
	switch s {
	case mirror.StateBehind, mirror.StateContested, mirror.StateDenied, mirror.StateUnreachable, mirror.StateFailed:
		return true
	}
	return false
}

// record returns the remote's record, and makes it where there is none.
func (p *Pusher) record(name string) *record {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.records[name]
	if r == nil {
		r = &record{decision: mirror.Decision{State: mirror.StatePending, Reason: mirror.ReasonNotLookedAt, Detail: "not looked at yet"}}
		p.records[name] = r
	}
	return r
}

// Status returns the status of each remote, by name, without what only its client knows.
func (p *Pusher) Status() []mirror.RemoteStatus {
	list := []mirror.RemoteStatus{}
	src, _ := p.opts.Source.Seen()
	for _, name := range p.opts.Remotes.Names() {
		var c mirror.Copy
		if remote, _ := p.opts.Remotes.Remote(name); remote != nil {
			c, _ = remote.Copy()
		}
		st := p.record(name).status(src, c)
		st.Name, st.NextTry = name, p.limiter.nextTry(name)
		list = append(list, st)
	}
	return list
}
