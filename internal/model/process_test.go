package model_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/fernetcast/fernetcast/pusher"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// process is the sync of one remote, or a promotion. It runs in a goroutine, which blocks at each
// request until the story serves that request.
type process struct {
	name    string
	replica *replica
	force   bool
	request *request // waiting to be served
	done    bool
	judge   func() // checks the result at the end; can be nil
	quiet   bool   // its GETs aren't logged, because nothing else happens between them
}

// request is a request to an API server.
type request struct {
	what   string
	writes *cluster // nil for reads
	do     func() (*corev1.Secret, error)
	answer chan answer
}

type answer struct {
	secret *corev1.Secret
	err    error
}

type processKey struct{}

func processOf(ctx context.Context) *process { return ctx.Value(processKey{}).(*process) }

// start starts a process. It returns when the process has ended, or blocks at its first request or
// on another process.
func (w *world) start(r *replica, name string, force bool, work func(context.Context)) *process {
	p := &process{name: name, replica: r, force: force}
	w.processes = append(w.processes, p)
	ctx := context.WithValue(r.ctx, processKey{}, p)
	go func() {
		work(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		p.done = true
	}()
	w.settle()
	return p
}

// sync starts the sync of a remote. It returns nil if another sync of that remote is running.
func (w *world) sync(r *replica, to *cluster, look, force bool) *process {
	l := r.link(to)
	if l.busy != nil && !l.busy.done {
		return nil
	}
	name := fmt.Sprintf("%s at %s", r.name, to.name)
	sync := pusher.Sync{Source: r.sourceFor(), Known: l.known, Force: force || w.without.row12}
	l.busy = w.start(r, name, force, func(ctx context.Context) {
		o := sync.Run(ctx, l, look)
		l.Follow()
		w.mu.Lock()
		defer w.mu.Unlock()
		if o.Settled.UID != "" {
			l.known = o.Settled.UID
		}
		w.say("%s: %s %s", name, o.Decision.State, o.Decision.Reason)
	})
	if l.busy.request != nil {
		w.say("%s: begins, look %v, force %v", name, look, force)
	}
	return l.busy
}

// ask sends a request, and blocks until the story serves it or the replica is killed.
func (w *world) ask(ctx context.Context, what string, writes *cluster, do func() (*corev1.Secret, error)) (*corev1.Secret, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	p, q := processOf(ctx), &request{what, writes, do, make(chan answer, 1)}
	w.mu.Lock()
	p.request = q
	w.mu.Unlock()
	select {
	case a := <-q.answer:
		return a.secret, a.err
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		p.request = nil
		return nil, ctx.Err()
	}
}

// fate describes what happens to a request.
type fate string

const (
	served  fate = "served"
	refused fate = "refused"
	lost    fate = "done, but the response is lost"
	cut     fate = "done, but the connection is cut"
	denied  fate = "denied"
	late    fate = "given up by the sender, to be done later"
)

// serve serves the request of a process and returns when all processes are blocked again.
func (w *world) serve(p *process, f fate) {
	q := p.request
	p.request = nil
	var a answer
	switch f {
	case served:
		a.secret, a.err = q.do()
	case refused:
		a.err = errDown
	case lost:
		_, _ = q.do()
		a.err = apierrors.NewTimeoutError("no answer", 0)
	case cut:
		_, _ = q.do()
		a.err = errCut
	case denied:
		a.err = errForbidden
	case late:
		w.late = append(w.late, q)
		a.err = apierrors.NewTimeoutError("no answer", 0)
	}
	if q.writes != nil || f != served || !p.quiet {
		w.say("  %s: %s %s%s", p.name, q.what, f, outcome(a))
	}
	q.answer <- a
	w.settle()
	if p.done && p.judge != nil {
		p.judge()
		p.judge = nil
	}
}

func outcome(a answer) string {
	switch {
	case apierrors.IsNotFound(a.err):
		return ": absent"
	case apierrors.IsConflict(a.err):
		return ": conflict"
	case a.secret != nil:
		return ": " + describe(a.secret)
	}
	return ""
}

// finish serves all requests of a process until it ends or waits for another process.
func (w *world) finish(p *process) {
	for p != nil && p.request != nil {
		p.quiet = true
		w.serve(p, served)
	}
}

// waiting returns the processes with a pending request, in the order in which they started.
func (w *world) waiting() []*process {
	w.processes = slices.DeleteFunc(w.processes, func(p *process) bool { return p.done })
	var list []*process
	for _, p := range w.processes {
		if p.request != nil {
			list = append(list, p)
		}
	}
	return list
}
