package model_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/fernetcast/fernetcast/clusters"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/pusher"
	"github.com/fernetcast/fernetcast/watcher"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// replica is a process of fernetcast in a region. A replica of run watches the clusters. One of
// push or promote exists only for the duration of that command and doesn't watch.
type replica struct {
	world  *world
	name   string
	region *cluster
	ctx    context.Context
	kill   context.CancelFunc
	runs   bool
	source *watcher.Watcher
	home   *feed
	links  map[*cluster]*link
}

func (w *world) newReplica(name string, region *cluster, runs bool) *replica {
	r := &replica{world: w, name: name, region: region, runs: runs, links: map[*cluster]*link{}}
	r.ctx, r.kill = context.WithCancel(w.ctx)
	r.home = &feed{world: w, cluster: region}
	r.source = watcher.New(watcher.Options{
		Secrets: r.home, Name: secretName, Log: slog.New(slog.DiscardHandler),
		Parse: func(last mirror.Source, s *corev1.Secret) mirror.Source {
			r.home.seen = s
			return w.without.readSource(last, s)
		},
	})
	if runs {
		go r.source.Run(r.ctx, func() {})
		w.settle()
	}
	return r
}

// link is a remote as a replica sees it, like the remotes in package clusters.
type link struct {
	replica *replica
	feed    *feed
	*clusters.Follower
	busy  *process // the only worker of the remote
	known types.UID
}

func (r *replica) link(to *cluster) *link {
	if l := r.links[to]; l != nil {
		return l
	}
	w := r.world
	l := &link{replica: r, feed: &feed{world: w, cluster: to}}
	l.Follower = clusters.NewFollower(l.feed, secretName, func(s *corev1.Secret) mirror.Copy {
		l.feed.seen = s
		return w.without.readCopy(to.name, r.region, s)
	}, slog.New(slog.DiscardHandler))
	r.links[to] = l
	if r.runs {
		go l.Run(r.ctx, func() {}, func() {})
		w.settle()
	}
	return l
}

func (r *replica) feeds() []*feed {
	all := []*feed{r.home}
	for _, c := range r.world.clusters {
		if l := r.links[c]; l != nil {
			all = append(all, l.feed)
		}
	}
	return all
}

// Write implements [pusher.Remote].
func (l *link) Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error) {
	w, at := l.replica.world, l.feed.cluster
	send, verb := at.update, "PUT "
	switch {
	case d.Action == mirror.ActionCreate && w.without.createPrecondition:
		send, verb = at.applyOver, "APPLY "
	case d.Action == mirror.ActionCreate:
		send, verb = at.apply, "APPLY "
	case w.without.updatePrecondition:
		send = at.overwrite
	}
	p := processOf(ctx)
	written, err := w.ask(ctx, verb+at.name, at, func() (*corev1.Secret, error) {
		before := at.now
		after, err := send(d.Secret)
		if err == nil {
			w.pushed(p, at, before, after)
		}
		return after, err
	})
	if err != nil {
		return mirror.Copy{}, fmt.Errorf("writing Secret %s: %w", secretName, err)
	}
	l.feed.answered(written, nil)
	return l.Wrote(written), nil
}

// sourceFor returns the source for a sync.
func (r *replica) sourceFor() pusher.Source {
	if r.world.without.liveRead {
		return cached{r.source}
	}
	return r.source
}

// cached is a source whose live read returns cached data. It disables a guard.
type cached struct {
	*watcher.Watcher
}

// Get implements [pusher.Source], but does not read anything.
func (c cached) Get(context.Context) (mirror.Source, error) {
	seen, _ := c.Seen()
	return seen, nil
}
