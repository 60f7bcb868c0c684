package pusher

import (
	"context"
	"log/slog"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// Observer is told what a [Pusher] does. Its methods are called by the workers,
// concurrently, and must not block.
type Observer interface {
	// Pushed tells of a write that a remote has acknowledged.
	Pushed(remote string, p mirror.Push)
	// StateChanged tells that a remote is in another state than before.
	StateChanged(remote string, d mirror.Decision)
}

// pushed counts, logs, and reports a decision that was carried out. before is what the
// remote was settled with before its sync.
func (p *Pusher) pushed(name string, r *record, d mirror.Decision, before Settled, took time.Duration) {
	push, stamp := mirror.Push{Decision: d, Took: took}, d.Secret.Annotations
	switch d.Reason {
	case mirror.ReasonRotated:
		// A copy that was set back is a drift, though an older stamp of ours is on it.
		if push.Repair = before.Keys == stamp[mirror.StampKeys]; !push.Repair {
			push.Rotation, push.Lag = p.lag(stamp[mirror.StampKeys])
		}
	case mirror.ReasonDrifted:
		push.Repair = true
	case mirror.ReasonAbsent, mirror.ReasonUnstamped:
		push.Repair = before != (Settled{}) // else the remote joins
	}
	if push.Repair {
		r.repaired()
	}
	level := slog.LevelInfo
	if push.Repair || d.Reason == mirror.ReasonUnstamped {
		level = slog.LevelWarn
	}
	p.opts.Log.Log(context.Background(), level, "pushed", "remote", name, "reason", string(d.Reason), "detail", d.Detail,
		"keys", stamp[mirror.StampKeys], "sourceResourceVersion", stamp[mirror.StampVersion], "milliseconds", took.Milliseconds())
	p.opts.Observer.Pushed(name, push)
}

// sawKeys notes when new keys were seen in the source. Those that were there at the
// start may have been rotated at any time before. An absent source has none.
func (p *Pusher) sawKeys(keys string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if keys == "" || keys == p.newest {
		return
	}
	if p.newest != "" {
		p.seen = time.Now()
	}
	p.newest = keys
}

// lag says whether the source's newest keys are these, and how long ago they were
// first seen; 0 where they were there at the start.
func (p *Pusher) lag(keys string) (newest bool, since time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if keys != p.newest || p.seen.IsZero() {
		return keys == p.newest, 0
	}
	return true, time.Since(p.seen)
}

// setStatus stores what was decided for a remote, logs it if it is news, and reports
// a new state. refused says why the remote's newest kubeconfig is refused.
func (p *Pusher) setStatus(name string, r *record, d mirror.Decision, refused error) {
	d.Secret = nil // it holds keys
	r.mu.Lock()
	last := r.decision.State
	same := d.State == last && d.Detail == r.decision.Detail && (refused == nil) == (r.refused == nil)
	r.decision, r.refused = d, refused
	r.mu.Unlock()
	if same || d.State == mirror.StatePending { // Pending is every remote's first state
		return
	}
	level := slog.LevelInfo
	if !d.State.Well() {
		level = slog.LevelWarn
	}
	p.opts.Log.Log(context.Background(), level, "remote is "+string(d.State), "remote", name, "state", string(d.State), "reason", string(d.Reason), "detail", d.Detail)
	if d.State != last {
		p.opts.Observer.StateChanged(name, d)
	}
}
