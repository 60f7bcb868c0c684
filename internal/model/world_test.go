// Package world_test proves the promises against races, in a model of the
// world: API servers of one Secret each, two regions that may each be the main
// and list each other and themselves, further remotes, replicas of the program
// in both regions, rotation jobs, and all that people and other programs do to
// such a Secret. pgregory.net/rapid draws what happens, in which order.
//
// What is driven is the program's own: watcher.Watcher with client-go's
// informer behind it, clusters.Follower with its reflector, pusher.Sync, mirror's reading and deciding. Only the
// clusters' clients are the model's, which do what package clusters does.
//
// Nothing runs at the same time by chance. The world is a synctest bubble: each
// sync is a goroutine that stands still at each of its requests, each watch
// brings nothing by itself, and the story lets one thing happen and waits until
// all stands still again. So the caches that lag are real ones, a race is an
// order that was drawn, and the same draws are the same story.
package model_test

import (
	"context"
	"flag"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	// The second of apimachinery's handlers sleeps by the wall clock, which in
	// a synctest bubble is years ahead; the first logs each watch that is cut.
	utilruntime.ErrorHandlers = nil
	// rapid's own default is a hundred; -rapid.checks on the command line counts.
	if err := flag.Set("rapid.checks", "200"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// world is all there is in one story. mu is held by the story, but where it
// waits for the program to stand still.
type world struct {
	t       *rapid.T // what is said goes there
	draws   *rapid.T // and what is drawn comes from here
	ctx     context.Context
	without dropped
	quiet   bool

	mu        sync.Mutex
	clusters  []*cluster
	regions   []*cluster // those that may be mains, and have replicas
	keys      *keyring
	replicas  []*replica // of run, two in each region
	processes []*process
	late      []*request
	jobs      map[*cluster]*corev1.Secret // what a rotation job has read, and not written yet
	births    int
	// given is what a copy was last given by an owner.
	given map[given]int
	// promotions says that the story is of promotions above all.
	promotions bool
	// kept is how often the second promise was found due, and held.
	kept int
}

// given is an owner's copy, as one object.
type given struct {
	cluster, uid string
	owner        owner
}

const replicasPerRegion = 2

// broken is a promise that was not kept.
type broken struct{ promise, how string }

func (b broken) String() string { return b.promise + ": " + b.how }

// tell tells one story, and returns the promise that broke in it, if any.
func tell(t *testing.T, rt *rapid.T, without dropped, story func(*world)) (fail *broken) {
	var other any
	synctest.Test(t, func(*testing.T) {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case broken:
				fail = &p
			default:
				// What rapid itself throws has to pass the end of the bubble.
				if other = p; !strings.HasPrefix(fmt.Sprintf("%T", p), "rapid.") {
					fail, other = &broken{"no panic", fmt.Sprintf("%v\n%s", p, debug.Stack())}, nil
				}
			}
		}()
		w := &world{
			t: rt, draws: rt, without: without, keys: newKeyring(),
			jobs: map[*cluster]*corev1.Secret{}, given: map[given]int{},
		}
		var end context.CancelFunc
		w.ctx, end = context.WithCancel(context.Background())
		w.mu.Lock()
		defer w.mu.Unlock()
		defer end()
		story(w)
	})
	if other != nil {
		panic(other)
	}
	return fail
}

// breaks ends the story.
func (w *world) breaks(promise, format string, args ...any) {
	how := fmt.Sprintf(format, args...)
	w.say("BROKEN: %s: %s", promise, how)
	panic(broken{promise, how})
}

func (w *world) say(format string, args ...any) {
	if !w.quiet {
		w.t.Logf(format, args...)
	}
}

// settle waits until all that the program does by itself is done.
func (w *world) settle() {
	w.mu.Unlock()
	synctest.Wait()
	w.mu.Lock()
}

// wait lets time pass, more than any watch takes to be tried again.
func (w *world) wait() {
	w.mu.Unlock()
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	w.mu.Lock()
}

// begin makes the clusters, and replicas that have seen what there is.
func (w *world) begin() {
	for i, name := range []string{"sjc", "dfw", "lon", "syd"} {
		c := &cluster{name: name, version: 1000 * (i + 1)}
		w.clusters = append(w.clusters, c)
		c.create(manifest(w.keys.repository(), nil))
	}
	w.regions = w.clusters[:2]
	w.promotions = pick(w, "what happens", []string{"all", "promotions", "all", "all"}) == "promotions"
	how := pick(w, "in the beginning", []string{"all synced", "promoted", "nothing"})
	main := w.regions[0]
	if how != "nothing" {
		main.edited(func(s *corev1.Secret) {
			s.Annotations = map[string]string{mirror.MarkRegion: main.name, mirror.MarkTerm: "1", mirror.MarkUID: string(s.UID)}
		})
	}
	for _, region := range w.regions {
		for range replicasPerRegion {
			w.replicas = append(w.replicas, w.born(region))
		}
	}
	if w.quiet = true; how == "all synced" {
		for _, c := range w.clusters {
			w.finish(w.sync(w.replicas[0], c, false, false))
		}
	}
	w.quiet = false
	for _, c := range w.clusters {
		w.say("in the beginning %s: %s", c.name, describe(c.now))
	}
}

// born starts a replica of run.
func (w *world) born(region *cluster) *replica {
	w.births++
	return w.newReplica(fmt.Sprintf("%s/run%d", region.name, w.births), region, true)
}

// Promises 1, 3, 5, 7 and 8 hold at every write, whatever happens in whatever
// order, and promise 2 once the faults have stopped.
func TestPromises(t *testing.T) {
	due := 0
	rapid.Check(t, func(rt *rapid.T) {
		fail := tell(t, rt, dropped{}, func(w *world) {
			w.begin()
			w.goOn()
			w.calm()
			due += w.kept
		})
		if fail != nil {
			rt.Fatal(fail)
		}
	})
	if due == 0 {
		t.Error("no remote was ever due to be equal in the end")
	}
}
