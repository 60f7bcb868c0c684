package model_test

import (
	"context"
	"fmt"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/pusher"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// command is the program as it is run by hand.
func (w *world) command(name string, region *cluster) *replica {
	w.births++
	return w.newReplica(fmt.Sprintf("%s/%s%d", region.name, name, w.births), region, false)
}

func (w *world) readSource(r *replica) *process {
	return w.start(r, r.name, false, func(ctx context.Context) { _, _ = r.source.Get(ctx) })
}

// promotion is a promote on its way, as package cli has it.
type promotion struct {
	*replica
	force bool
}

func (w *world) promote(region *cluster, force bool) *process {
	p := promotion{w.command("promote", region), force}
	for _, c := range w.clusters {
		p.link(c)
	}
	w.say("%s: begins, force %v", p.name, force)
	return w.start(p.replica, p.name, false, p.run)
}

func (p promotion) run(ctx context.Context) {
	src, err := p.source.Get(ctx)
	switch {
	case err != nil || src.State() == mirror.SourceAbsent || src.State() == mirror.SourceRefused:
		return
	case len(src.Unreadable()) > 0 && !p.force:
		return
	}
	seen := p.look(ctx)
	term := src.HighestTerm()
	for _, o := range seen {
		term = max(term, o.Copy.HighestTerm())
		if o.Copy.Read() && !o.Copy.Is(src) && !o.Copy.Promotable(src) && !p.force {
			return
		}
	}
	if src, err = p.mark(ctx, src, term+1); err != nil {
		return
	}
	seen = p.look(ctx)
	rival := 0
	for _, o := range seen {
		rival = max(rival, o.Copy.Rival(src).Term)
	}
	if rival > 0 {
		if _, err = p.mark(ctx, src, rival+1); err != nil {
			return
		}
	}
	for _, mains := range []bool{true, false} {
		for i, c := range p.world.clusters {
			if seen[i].Copy.IsMain() == mains {
				pusher.Sync{Source: p.sourceFor()}.Run(ctx, p.links[c], true)
			}
		}
	}
}

func (p promotion) look(ctx context.Context) []*pusher.Outcome {
	var seen []*pusher.Outcome
	for _, c := range p.world.clusters {
		seen = append(seen, pusher.Sync{Source: p.sourceFor()}.Look(ctx, p.links[c]))
	}
	return seen
}

func (p promotion) mark(ctx context.Context, shown mirror.Source, term int) (mirror.Source, error) {
	src, home := shown, p.region
	for range 5 {
		marked := src.Marked(home.name, term)
		written, err := p.world.ask(ctx, "PUT mark "+home.name, home, func() (*corev1.Secret, error) { return home.update(marked) })
		if err == nil {
			p.source.Wrote(written)
			src, _ = p.source.Seen()
			return src, nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsTimeout(err) {
			return src, err
		}
		if src, err = p.source.Get(ctx); err != nil {
			return src, err
		}
		if src.Owner() == (mirror.Owner{Region: home.name, Term: term, UID: shown.UID()}) {
			return src, nil
		}
		if !src.SameClaims(shown) || !src.Keys().Fingerprints().Continues(shown.Keys().Fingerprints()) {
			break
		}
	}
	return src, fmt.Errorf("changed by someone else")
}
