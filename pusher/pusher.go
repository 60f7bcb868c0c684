// Package pusher brings the source's keys to every remote: a queue of names,
// workers, a back-off, and one remote's sync: look, decide, write.
//
// What is to be written is package mirror's to decide. Here it is done, as
// often as it takes.
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

// resyncJitter spreads the reads of many remotes and replicas.
const resyncJitter = 0.2

// Remotes are the clusters there are.
type Remotes interface {
	// Names of all, also of those without a usable kubeconfig, in order.
	Names() []string
	// Remote is the live one of that name, nil where there is none. The error
	// is why its newest kubeconfig is refused.
	Remote(name string) (Remote, error)
}

// Options are a [Pusher]'s. All are needed.
type Options struct {
	Source  Source
	Remotes Remotes
	// Resync is how often each remote is read, whatever its watch says.
	Resync time.Duration
	// BackoffInitial and BackoffMax bound a failed remote's waiting.
	BackoffInitial, BackoffMax time.Duration
	Log                        *slog.Logger
}

// Pusher keeps every remote equal to the source. Its methods may be called concurrently.
type Pusher struct {
	opts    Options
	limiter *limiter
	queue   workqueue.TypedRateLimitingInterface[string]

	mu      sync.Mutex
	records map[string]*record
}

// New makes a pusher. It does nothing before Run.
func New(opts Options) *Pusher {
	limiter := newLimiter(opts.BackoffInitial, opts.BackoffMax)
	return &Pusher{
		opts: opts, limiter: limiter, records: map[string]*record{},
		queue: workqueue.NewTypedRateLimitingQueueWithConfig[string](limiter,
			workqueue.TypedRateLimitingQueueConfig[string]{Name: "remotes"}),
	}
}

// SourceChanged has every remote looked at: whatever one waits for, it is for
// keys of the past.
func (p *Pusher) SourceChanged() {
	for _, name := range p.opts.Remotes.Names() {
		p.tryNow(name)
	}
}

// ClientChanged has a remote looked at that came, went or got another client.
func (p *Pusher) ClientChanged(name string) { p.tryNow(name) }

// tryNow ends a remote's waiting.
func (p *Pusher) tryNow(name string) {
	p.limiter.Forget(name)
	p.queue.Add(name)
}

// RemoteChanged has a remote looked at that says that its Secret changed. One
// that is contested waits for its turn.
func (p *Pusher) RemoteChanged(name string) {
	if !p.record(name).isContested() {
		p.queue.Add(name)
	}
}

// RemoteAnswered has a remote tried again that failed and is alive again.
func (p *Pusher) RemoteAnswered(name string) {
	if p.limiter.NumRequeues(name) > 0 && !p.record(name).isContested() {
		p.tryNow(name)
	}
}

// Run pushes until ctx is done, and returns when its workers have ended. The
// queue lets one at a time deal with a remote, so each that is in it gets a
// worker of its own: none waits for another.
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

// work syncs one remote, and leaves word when it is to be looked at again.
func (p *Pusher) work(ctx context.Context, name string) {
	remote, refused := p.opts.Remotes.Remote(name)
	r, log := p.record(name), p.opts.Log.With("remote", name)
	switch {
	case remote == nil && refused == nil: // removed
		p.limiter.Forget(name)
		p.mu.Lock()
		delete(p.records, name)
		p.mu.Unlock()
		return
	case remote == nil:
		p.limiter.Forget(name)
		r.note(log, mirror.Decision{State: mirror.StateMisconfigured, Reason: mirror.ReasonKubeconfig, Detail: refused.Error()}, refused)
		return
	}
	started := time.Now()
	r.forRemote(remote)
	s := Sync{Source: p.opts.Source, Known: r.settled.UID, Admit: r.admit(p.opts.BackoffMax)}
	o := s.Run(ctx, remote, !started.Before(r.lookAt))
	if ctx.Err() != nil {
		return
	}
	if o.Looked {
		r.lookAt = time.Now().Add(wait.Jitter(p.opts.Resync, resyncJitter))
	}
	if o.Decision.State == mirror.StateUnreachable { // what was sent may have been done
		r.lookAt = time.Time{}
	}
	if r.settle(o, p.opts.BackoffMax) {
		p.queue.Add(name) // its events were not heeded
	}
	for _, d := range o.Writes {
		logPush(log, d, time.Since(started))
	}
	r.note(log, o.Decision, refused)
	p.again(name, r, o)
}

// again puts the remote back in the queue: after a back-off where the sync
// failed or is not at its end, else for its next read.
func (p *Pusher) again(name string, r *record, o *Outcome) {
	switch o.Decision.State {
	case mirror.StateBehind, mirror.StateContested, mirror.StateDenied, mirror.StateUnreachable, mirror.StateFailed:
		p.limiter.ask(name, retryAfter(o.Err))
		p.queue.AddRateLimited(name)
	default:
		p.limiter.Forget(name)
		next := time.Until(r.lookAt)
		if next <= 0 { // it was not looked at: the source alone decided
			next = wait.Jitter(p.opts.Resync, resyncJitter)
		}
		p.queue.AddAfter(name, next)
	}
}

func logPush(log *slog.Logger, d mirror.Decision, took time.Duration) {
	level := slog.LevelInfo
	if d.Reason == mirror.ReasonUnstamped || d.Reason == mirror.ReasonDrifted {
		level = slog.LevelWarn
	}
	stamp := d.Secret.Annotations
	log.Log(context.Background(), level, "pushed", "reason", string(d.Reason), "detail", d.Detail,
		"keys", stamp[mirror.StampKeys], "sourceResourceVersion", stamp[mirror.StampVersion], "milliseconds", took.Milliseconds())
}

// record is the remote's own, made where there is none.
func (p *Pusher) record(name string) *record {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.records[name]
	if r == nil {
		r = &record{}
		p.records[name] = r
	}
	return r
}

// Status is how each remote stands, by name.
func (p *Pusher) Status() []mirror.RemoteStatus {
	list := []mirror.RemoteStatus{}
	src, _ := p.opts.Source.Seen()
	for _, name := range p.opts.Remotes.Names() {
		var c mirror.Copy
		var server string
		if remote, _ := p.opts.Remotes.Remote(name); remote != nil {
			c, _ = remote.Copy()
			server = remote.Address()
		}
		st := p.record(name).status(name, server, src, c)
		st.NextTry = p.limiter.next(name)
		list = append(list, st)
	}
	return list
}

// retryAfter is how long the server asks to be left alone; 0 where it does not.
func retryAfter(err error) time.Duration {
	seconds, _ := apierrors.SuggestsClientDelay(err)
	return time.Duration(seconds) * time.Second
}
