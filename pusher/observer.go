package pusher

import (
	"context"
	"log/slog"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// Observer receives a [Pusher]'s events. Workers call its methods concurrently. The methods
// must not block.
type Observer interface {
	// Pushed reports a write that a remote has acknowledged.
	Pushed(remote string, p mirror.Push)
	// StateChanged reports that a remote has entered another state.
	StateChanged(remote string, d mirror.Decision)
}

// pushed counts, logs, and reports a completed write. before is the remote's Settled before
// the sync.
func (p *Pusher) pushed(name string, r *record, d mirror.Decision, before Settled, took time.Duration) {
	push, stamp := mirror.Push{Decision: d, Took: took}, d.Secret.Annotations
	switch d.Reason {
	case mirror.ReasonRotated:
		// Restored older keys are drift, even though their stamp is ours.
		if push.Repair = before.Keys == stamp[mirror.StampKeys]; !push.Repair {
			push.Rotation, push.Lag = p.lag(stamp[mirror.StampKeys])
		}
	case mirror.ReasonDrifted:
		push.Repair = true
	case mirror.ReasonAbsent, mirror.ReasonUnstamped:
		push.Repair = before != (Settled{}) // otherwise, the remote has just joined
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

// sawKeys records when new keys are first seen in the source. Keys found at startup have no
// such time: they may have been rotated at any time. An absent source has no keys.
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

// lag reports whether keys are the source's newest, and how long ago they were first seen;
// 0 if they were found at startup.
func (p *Pusher) lag(keys string) (newest bool, since time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if keys != p.newest || p.seen.IsZero() {
		return keys == p.newest, 0
	}
	return true, time.Since(p.seen)
}

// setStatus stores the decision, logs it if it differs from the last one, and reports a new
// state. refused explains why the remote's newest kubeconfig is rejected.
func (p *Pusher) setStatus(name string, r *record, d mirror.Decision, refused error) {
	d.Secret = nil // contains keys
	r.mu.Lock()
	last := r.decision.State
	same := d.State == last && d.Detail == r.decision.Detail && (refused == nil) == (r.refused == nil)
	r.decision, r.refused = d, refused
	r.mu.Unlock()
	if same || d.State == mirror.StatePending { // Pending is the initial state
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
