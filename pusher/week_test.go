package pusher

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
	// resync is longer than the default, because simulating each read takes real time.
	resync = 5 * time.Minute
)

func TestTwoDays(t *testing.T) { lives(t, 2*day) }

func TestLongWeek(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: make test-all runs it")
	}
	lives(t, week)
}

// lives simulates several days in a synctest bubble: a rotation every 12 hours, two remotes
// that are down for hours every day, a flapping remote, a drifting remote, and some that
// are added and removed.
//
// Each remote must be read and retried in time, and not in step with another. Each rotation
// must immediately reach all remotes that are up. The number of requests must not grow, and
// no state of removed remotes may remain.
func lives(t *testing.T, long time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		src, f := &source{}, &fleet{list: map[string]*attended{}}
		f.push = started(t, src, f, resync)
		start := time.Now()
		steady, twin := f.add("steady"), f.add("twin")
		flapping, drifting := f.add("flapping"), f.add("drifting")
		drifting.slack = backoffMax
		alike := []*attended{f.add("alike-1"), f.add("alike-2")}
		synctest.Wait()
		before := goroutines()

		ctx, stop := context.WithCancel(t.Context())
		var actors sync.WaitGroup
		for _, act := range []func(context.Context){
			func(ctx context.Context) { f.flap(ctx, flapping) },
			func(ctx context.Context) { drift(ctx, drifting) },
			f.comeAndGo,
		} {
			actors.Go(func() { act(ctx) })
		}
		outages := map[time.Time]time.Time{}
		for hour := range int(long / time.Hour) {
			switch hour % 24 {
			case 5:
				alike[0].down()
				alike[1].down()
				f.rotates(t, src) // both fail at the same moment
			case 11:
				outages[time.Now().Add(-6*time.Hour)] = time.Now()
				alike[0].up()
				alike[1].up()
			case 17:
				f.rotates(t, src)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			f.inTime(t)
			f.keepsNothingOfRemoved(t)
		}
		stop()
		actors.Wait()
		flapping.up()
		time.Sleep(resync + resync/5)
		synctest.Wait()
		for _, name := range f.Names() {
			expect(t, f.push, name, mirror.StateSynced)
			if !f.of(name).holds(src.rotation) {
				t.Errorf("%s does not have the latest keys", name)
			}
		}
		if after := goroutines(); after != before {
			t.Errorf("%d goroutines, want the initial %d", after, before)
		}
		evenDays(t, steady, start, long)
		if n := inStep(steady.turns, twin.turns); n > 10 {
			t.Errorf("%d of 100 reads of two remotes coincide", n)
		}
		for from, to := range outages {
			one, other := alike[0].between(from, to), alike[1].between(from, to)
			if n := inStep(one, other); n > 10 {
				t.Errorf("%d of 100 retries of two failing remotes coincide", n)
			}
			// The longest backoff waits 15 to 30 s.
			if hours := int(to.Sub(from) / time.Hour); len(one) < 120*hours || len(one) > 240*hours+20 {
				t.Errorf("%d attempts in %d hours", len(one), hours)
			}
		}
	})
}

// goroutines returns the number of goroutines in the bubble. runtime.NumGoroutine would
// also count a goroutine of the previous test that is about to end.
func goroutines() int {
	stacks := make([]byte, 1<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("synctest bubble"))
}

// rotates rotates the source. It fails the test unless each remote that is up has the keys
// immediately.
func (f *fleet) rotates(t *testing.T, src *source) {
	t.Helper()
	src.rotate()
	f.push.SourceChanged()
	synctest.Wait()
	for _, a := range f.all() {
		if a.isUp() && a.hang == nil && !a.holds(src.rotation) {
			t.Errorf("%s does not have rotation %d immediately", a.name, src.rotation)
		}
	}
}

// keepsNothingOfRemoved fails the test if there is more state than remotes.
func (f *fleet) keepsNothingOfRemoved(t *testing.T) {
	t.Helper()
	p, there := f.push, len(f.Names())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	if len(p.records) > there || len(p.limiter.items) > there || p.queue.Len() > there {
		t.Fatalf("%d remotes, and %d records, %d backoffs, %d in the queue",
			there, len(p.records), len(p.limiter.items), p.queue.Len())
	}
}

// evenDays fails the test unless each day has as many reads as an idle remote gets: one per
// resync interval, or up to a fifth later.
func evenDays(t *testing.T, a *attended, start time.Time, long time.Duration) {
	t.Helper()
	least, most := int(day/(resync+resync/5)), int(day/resync)
	for n := range int(long / day) {
		turns := len(a.between(start.Add(time.Duration(n)*day), start.Add(time.Duration(n+1)*day)))
		if turns < least || turns > most+3 { // two rotations, and a read at each end
			t.Errorf("%d reads and writes on day %d, not %d to %d", turns, n+1, least, most)
		}
	}
}

// flap repeatedly takes a remote down and up. Half of the time, its watch reports that it
// is up.
func (f *fleet) flap(ctx context.Context, a *attended) {
	for pause(ctx, time.Hour) {
		a.down()
		pause(ctx, 20*time.Minute)
		a.up()
		if rand.N(2) == 0 {
			f.push.RemoteAnswered(a.name)
		}
	}
}

// drift occasionally changes a copy, sometimes twice in a row.
func drift(ctx context.Context, a *attended) {
	for pause(ctx, 6*time.Hour) {
		a.spoil()
		if rand.N(3) == 0 && pause(ctx, 10*time.Second) {
			a.spoil()
		}
	}
}

// comeAndGo adds and removes remotes. When removed, some are Synced, some are backing off,
// and some have a pending write that then fails.
func (f *fleet) comeAndGo(ctx context.Context) {
	var guests sync.WaitGroup
	defer guests.Wait()
	well := func(*attended) {}
	// Requests have no deadline here, so a hanging remote is never in time.
	hung := func(a *attended) { a.hang, a.slack = make(chan struct{}), week }
	for n := 0; pause(ctx, 3*time.Hour); n++ {
		guests.Go(func() {
			a := f.add(fmt.Sprintf("guest-%d", n), []func(*attended){well, (*attended).down, hung}[n%3])
			pause(ctx, time.Hour)
			f.remove(a.name)
			if a.hang != nil {
				a.down()
				close(a.hang)
			}
		})
	}
}

// pause waits for a random time up to longest. It returns false if ctx is done.
func pause(ctx context.Context, longest time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(rand.N(longest) + 1):
		return true
	}
}
