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

// pushed counts, logs and tells of a decision that was carried out. known says
// whether the remote was settled before.
func (p *Pusher) pushed(name string, d mirror.Decision, known bool, took time.Duration) {
	push := mirror.Push{Decision: d, Took: took}
	switch d.Reason {
	case mirror.ReasonRotated:
		push.Lag = p.lag(d.Secret.Annotations[mirror.StampVersion])
	case mirror.ReasonDrifted:
		push.Repair = true
	case mirror.ReasonAbsent, mirror.ReasonUnstamped:
		push.Repair = known // else the remote joins
	}
	if push.Repair {
		p.record(name).repaired()
	}
	level := slog.LevelInfo
	if push.Repair || d.Reason == mirror.ReasonUnstamped {
		level = slog.LevelWarn
	}
	stamp := d.Secret.Annotations
	p.opts.Log.Log(context.Background(), level, "pushed", "remote", name, "reason", string(d.Reason), "detail", d.Detail,
		"keys", stamp[mirror.StampKeys], "sourceResourceVersion", stamp[mirror.StampVersion], "milliseconds", took.Milliseconds())
	if p.opts.Observer != nil {
		p.opts.Observer.Pushed(name, push)
	}
}

// lag is how long ago the source's version was first seen; 0 where it is not
// the newest.
func (p *Pusher) lag(version string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if version != p.newest {
		return 0
	}
	return time.Since(p.seen)
}

// setStatus stores what was decided for a remote, and tells of another state.
func (p *Pusher) setStatus(name string, r *record, d mirror.Decision, refused error) {
	if r.setStatus(p.opts.Log.With("remote", name), d, refused) && p.opts.Observer != nil {
		p.opts.Observer.StateChanged(name, d)
	}
}
