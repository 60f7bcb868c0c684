package regions

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// hostileCluster is the cluster that contains the hostile remotes.
	hostileCluster = "dfw"
	// atATime is the number of hostile remotes. Three others are honest.
	atATime = 3
	// roomForHostiles limits memory, and timeForHostiles limits CPU use, as a share of one core.
	// The guarantee is a tenth of a core. The limit is half as much again, because the test's
	// servers use the same two cores.
	roomForHostiles = 100 << 20
	timeForHostiles = 0.15
	// hostileTime is how long the remotes stay hostile, during hostileTurns rotations. Each
	// rotation resets the backoff. After more rotations, the source would have no key in common
	// with the copies. If all three remotes are of one kind, they stay hostile for costlyTime. Most
	// of the reads that they can trigger come in the first seconds.
	hostileTime  = 8 * time.Second
	costlyTime   = 20 * time.Second
	hostileTurns = 4
	// readsAtOnce and readsPerSecond limit the reads that a remote can trigger. These also limit
	// writes, because there is a read before each write except the first after a rotation.
	readsAtOnce, readsPerSecond = 50, 5
	// With hostile remotes next to the honest ones, a rotation may take asFast times the usual
	// delay, plus asFastPlus.
	asFast     = 3
	asFastPlus = 100 * time.Millisecond
)

// TestHostileRemotes checks hostile remotes, three at a time. They must not make fernetcast use
// much memory or CPU time or send many requests, and fernetcast must not follow their redirects,
// which would leak keys and tokens. Other remotes must get new keys as fast as usual. A remote that
// becomes honest again must recover.
//
// This test covers one kind per mechanism. TestLongHostileRemotes covers the others, and
// internal/kube has a table of responses and events. TestContest and TestStorm cover rivals.
func TestHostileRemotes(t *testing.T) {
	allHostile(t, func(k kind) bool { return k.first })
}

func TestLongHostileRemotes(t *testing.T) {
	testenv.Long(t)
	allHostile(t, func(k kind) bool { return !k.first })
}

// allHostile tests the kinds for which include returns true, three at a time.
func allHostile(t *testing.T, include func(kind) bool) {
	trap := newTrap(newWorld(t))
	var kinds, others []kind
	for _, k := range slices.Concat(costlyWatches(), costlyAnswers(trap), costlyFrames()) {
		switch {
		case !include(k):
		case k.thrice:
			kinds = append(kinds, slices.Repeat([]kind{k}, atATime)...)
		default:
			others = append(others, k)
		}
	}
	for some := range slices.Chunk(append(kinds, others...), atATime) {
		var names []string
		for _, k := range some {
			names = append(names, k.name)
		}
		t.Run(strings.Join(names, ","), func(t *testing.T) {
			t.Parallel()
			hostile(t, some, trap)
		})
	}
}

// hostile tests remotes of these kinds next to three honest ones.
func hostile(t *testing.T, kinds []kind, trap *trap) {
	w := newWorld(t)
	line := []testenv.Repository{w.keys()}
	w.promote()
	w.join(remotes...)
	var others []*outpost
	for i := range kinds {
		others = append(others, w.outpost(fmt.Sprintf("hostile-%d", i), hostileCluster))
	}
	run := w.runShipped()
	for _, o := range others {
		w.arrived(o.history, line[0])
		run.shows(o.region, "Synced", "")
	}
	w.equal(testenv.Soon, line[0], remotes...)
	run.allShow("Synced", "", remotes...)
	seen := w.follow(remotes...)
	alone := w.turns(seen, &line, 5, 100*time.Millisecond)

	began, used := time.Now(), w.cpu(run)
	for i, k := range kinds {
		others[i].spoil(k)
	}
	lasts := hostileTime
	if kinds[0].thrice {
		lasts = costlyTime
	}
	beside := w.turns(seen, &line, hostileTurns, lasts/hostileTurns)
	spent, lasted := w.cpu(run)-used, time.Since(began)
	now, peak, err := run.Memory()
	w.Must(err)
	t.Logf("memory: %d MiB now, %d MiB at most; %.3f of a core; honest remotes: %v alone, %v with hostile ones",
		now>>20, peak>>20, spent.Seconds()/lasted.Seconds(), alone, beside)
	if peak > roomForHostiles {
		t.Errorf("run used %d MiB, want at most %d MiB", peak>>20, roomForHostiles>>20)
	}
	if share := spent.Seconds() / lasted.Seconds(); share > timeForHostiles {
		t.Errorf("run used %.3f of a core, want at most %v", share, timeForHostiles)
	}
	if beside > asFast*alone+asFastPlus {
		t.Errorf("the honest remotes got new keys after %v, but after %v when all remotes were honest", beside, alone)
	}
	for i, k := range kinds {
		o := others[i]
		o.limited(k, began)
		run.shown(testenv.Soon, o.region, k)
		trap.empty(w.token(o.region))
	}

	for _, o := range others {
		o.Age(false)
		o.Spoil(nil)
		o.Cut()
	}
	last := w.rotate().Keys
	line = append(line, last)
	w.equal(testenv.Soon, last, remotes...)
	for _, o := range others {
		w.arrived(o.history, last)
		run.shown(3*testenv.Soon, o.region, kind{}) // a contest ends after 30 s without drift
		o.neverBack(line...)
	}
	for _, h := range seen {
		h.only(line[1:]...)
	}
}

// spoil makes the remote behave like kind k in all later requests and watches.
func (o *outpost) spoil(k kind) {
	o.Age(k.old)
	o.honest = len(o.Requests())
	o.Spoil(k.spoil)
	o.Cut()
}

// requests returns the number of reads and writes since spoil.
func (o *outpost) requests() (reads, writes int) {
	for _, r := range o.Requests()[o.honest:] {
		if r.Method == http.MethodGet {
			reads++
		} else {
			writes++
		}
	}
	return reads, writes
}

// limited fails the test if the remote has triggered more requests than allowed.
func (o *outpost) limited(k kind, since time.Time) {
	o.w.Helper()
	reads, writes := o.requests()
	o.w.Logf("%s: %d reads, %d writes", k.name, reads, writes)
	most := readsAtOnce + int(readsPerSecond*(time.Since(since).Seconds()+1))
	if reads > most {
		o.w.Errorf("%s was read %d times, want %d at most", k.name, reads, most)
	}
	if most += hostileTurns + 1; writes > most {
		o.w.Errorf("%s was written %d times, want %d at most", k.name, writes, most)
	}
}

// turns rotates the keys repeatedly, and returns the median delay until a remote has them. It fails
// the test if a delay exceeds atOnce.
func (w *world) turns(seen map[string]*history, line *[]testenv.Repository, times int, beat time.Duration) time.Duration {
	w.Helper()
	var took []time.Duration
	for range times {
		rotation := w.rotate()
		*line = append(*line, rotation.Keys)
		for _, h := range seen {
			w.within(atOnce, h, rotation)
			took = append(took, w.arrived(h, rotation.Keys).Sub(rotation.Committed))
		}
		w.sleepUntil(rotation.Committed.Add(beat))
	}
	return testenv.Percentile(took, 50)
}

func (w *world) cpu(run *replica) time.Duration {
	w.Helper()
	used, err := run.CPU()
	w.Must(err)
	return used
}

// shown waits until /statusz shows the remote in a state that is correct for its kind.
func (r *replica) shown(limit time.Duration, remote string, k kind) {
	r.w.Helper()
	want := []string{"Unreachable", "Failed"}
	switch {
	case k.also != nil:
		want = append(want, "Synced")
	case k.rival:
		want = []string{"Contested", "Synced"}
	case k.on&aWrite == 0: // writes don't depend on LIST or WATCH
		want = []string{"Synced"}
	}
	r.w.Within(limit, func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		if state := st.Remote(remote).State; !slices.Contains(want, state) {
			return fmt.Errorf("%s is %s, want one of %v", k.name, state, want)
		}
		return nil
	})
}
