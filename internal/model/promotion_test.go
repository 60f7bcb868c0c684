package model_test

import (
	"context"
	"fmt"
	"strconv"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/promotion"
	"github.com/fernetcast/fernetcast/pusher"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// command returns the replica that stands for a manually run command.
func (w *world) command(name string, region *cluster) *replica {
	w.births++
	return w.newReplica(fmt.Sprintf("%s/%s%d", region.name, name, w.births), region, false)
}

func (w *world) readSource(r *replica) *process {
	return w.start(r, r.name, false, func(ctx context.Context) { _, _ = r.source.Get(ctx) })
}

// promoting provides the source and the remotes for a running promotion.Promotion. The story serves
// each request. promoting records what the promotion saw and did, so that the test can check it.
type promoting struct {
	*replica
	opts promotion.Options
	// source is the result of the promotion's first successful read of its own Secret. looked holds
	// the last result from each cluster that responded.
	source *corev1.Secret
	looked map[string]*corev1.Secret
	looks  int
	first  []promotion.Remote
	// marks are the marks that the promotion has set. rivals holds each cluster's highest rival
	// term when the first mark was set.
	marks  []owner
	rivals map[*cluster]rivalry
	end    error
	// denied is the final message if the promotion reported that it changed nothing.
	denied string
}

// rivalry is the highest rival term in a Secret at that version.
type rivalry struct{ version, term int }

func (w *world) promote(region *cluster, force bool, ignore ...string) *process {
	p := &promoting{replica: w.command("promote", region), opts: promotion.Options{Region: region.name, Force: force, Ignore: ignore}}
	for _, c := range w.clusters {
		p.link(c)
	}
	opts := p.opts
	opts.Force = force || w.without.refusals
	run := promotion.Promotion{
		Options: opts, Source: p, Fleet: p, Secret: secretName,
		Say: func(line string) { w.heard(p.name, line) },
	}
	w.say("%s: begins, force %v, ignores %q", p.name, force, ignore)
	process := w.start(p.replica, p.name, false, func(ctx context.Context) {
		plan, err := run.Plan(ctx)
		for _, line := range plan.Lines {
			w.heard(p.name, line)
		}
		if err == nil {
			err = run.Apply(ctx, plan)
		}
		p.end = err
	})
	process.judge = p.judgeEnd
	return process
}

func (w *world) heard(name, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.say("  %s says: %s", name, line)
}

// Get implements [promotion.Source].
func (p *promoting) Get(ctx context.Context) (mirror.Source, error) {
	src, err := p.replica.source.Get(ctx)
	if p.source == nil && err == nil {
		p.source = p.home.seen
	}
	return src, err
}

// Mark implements [promotion.Source].
func (p *promoting) Mark(ctx context.Context, marked *corev1.Secret) (mirror.Source, error) {
	w, send := p.world, p.region.update
	if w.without.markPrecondition {
		send = p.region.overwrite
	}
	if w.without.nextTerm {
		term, _ := strconv.Atoi(marked.Annotations[mirror.MarkTerm])
		marked.Annotations[mirror.MarkTerm] = strconv.Itoa(max(1, term-1))
	}
	written, err := w.ask(ctx, "PUT mark "+p.region.name, p.region, func() (*corev1.Secret, error) {
		before := p.region.now
		after, err := send(marked)
		if err == nil {
			p.judgeMark(before, after)
		}
		return after, err
	})
	if err != nil && !apierrors.IsConflict(err) && w.without.unsettled {
		err = errForbidden
	}
	if err != nil {
		return mirror.Source{}, err
	}
	p.replica.source.Wrote(written)
	return w.without.readSource(mirror.Source{}, written), nil
}

// Look implements [promotion.Fleet].
func (p *promoting) Look(ctx context.Context) []promotion.Remote {
	if p.world.without.lookAgain && p.first != nil {
		return p.first
	}
	p.looks++
	var looks []promotion.Remote
	p.looked = map[string]*corev1.Secret{}
	for _, c := range p.world.clusters {
		look := promotion.Remote{Name: c.name}
		if seen, err := p.links[c].Look(ctx); err != nil {
			look.Why = err.Error()
		} else {
			look.Copy, p.looked[c.name] = seen, p.links[c].feed.seen
		}
		looks = append(looks, look)
	}
	if p.first == nil {
		p.first = looks
	}
	return looks
}

// Push implements [promotion.Fleet].
func (p *promoting) Push(ctx context.Context, names []string) {
	for _, name := range names {
		for _, c := range p.world.clusters {
			if c.name == name {
				pusher.Sync{Source: p.sourceFor()}.Run(ctx, p.links[c], true)
			}
		}
	}
}
