// Package model_test tests the promises against races in a model of the world. The world
// consists of API servers with one Secret each, replicas of the program, rotation jobs,
// operators, and other writers. Two regions can be the main region, and each lists the
// other and itself as a remote. pgregory.net/rapid draws what happens and in which order.
//
// The model runs the program's own code: watcher.Watcher with client-go's informer,
// clusters.Follower with its reflector, pusher.Sync, and package mirror. Only the clients that
// access clusters are simulated. They behave like those of package clusters.
//
// Nothing runs concurrently by chance. The world is a synctest bubble. Each sync is a goroutine
// that blocks at each request, and no watch delivers anything by itself. The story lets one thing
// happen and waits until everything is blocked again. So caches really lag, each race is an order
// that rapid draws, and the same draws produce the same story.
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
	// Apimachinery's second error handler sleeps until a wall-clock time, which is years away in a
	// synctest bubble. The first handler would log each cut watch.
	utilruntime.ErrorHandlers = nil
	// rapid's default is 100. The flag on the command line takes precedence.
	if err := flag.Set("rapid.checks", "200"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// world is the state of one story. The story holds mu, except while it waits for the
// program to block.
type world struct {
	t       *rapid.T // used for logs
	draws   *rapid.T // used for draws
	ctx     context.Context
	without dropped
	quiet   bool

	mu        sync.Mutex
	clusters  []*cluster
	regions   []*cluster // regions that have replicas and can be the main region
	keys      *keyring
	replicas  []*replica // replicas of run, two per region
	processes []*process
	late      []*request
	jobs      map[*cluster]*corev1.Secret // Secrets that a rotation job has read but not yet written
	births    int
	// given holds, for each owner and copy, the version of the source that was last written.
	given map[given]int
	// promotions reports whether the story is mainly about promotions.
	promotions bool
	// kept counts how often promise 2 required an equal copy and was kept.
	kept int
}

// given identifies an owner and the object of its copy.
type given struct {
	cluster, uid string
	owner        owner
}

const replicasPerRegion = 2

// broken describes a promise that was not kept, and how.
type broken struct{ promise, how string }

func (b broken) String() string { return b.promise + ": " + b.how }

// runStory runs one story and returns the promise that it broke, if any.
func runStory(t *testing.T, rt *rapid.T, without dropped, story func(*world)) (fail *broken) {
	var other any
	synctest.Test(t, func(*testing.T) {
		defer func() {
			switch p := recover().(type) {
			case nil:
			case broken:
				fail = &p
			default:
				// rapid's own panics must leave the bubble.
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

// breaks reports a broken promise and ends the story.
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

// settle waits until every goroutine of the program is blocked.
func (w *world) settle() {
	w.mu.Unlock()
	synctest.Wait()
	w.mu.Lock()
}

// wait lets enough time pass for every broken watch to be retried.
func (w *world) wait() {
	w.mu.Unlock()
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	w.mu.Lock()
}

// begin creates the clusters, and replicas that have read them.
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

// born starts a replica of run in a region.
func (w *world) born(region *cluster) *replica {
	w.births++
	return w.newReplica(fmt.Sprintf("%s/run%d", region.name, w.births), region, true)
}

// Promises 1, 3, 5, 7, and 8 hold at every write, in every order of events. Promise 2 holds after
// the faults have stopped.
func TestPromises(t *testing.T) {
	due := 0
	rapid.Check(t, func(rt *rapid.T) {
		fail := runStory(t, rt, dropped{}, func(w *world) {
			w.begin()
			w.proceed()
			w.calm()
			due += w.kept
		})
		if fail != nil {
			rt.Fatal(fail)
		}
	})
	if due == 0 {
		t.Error("promise 2 was never checked: no story ended with a remote that had to be equal")
	}
}
