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
	// hostileCluster is where the hostile remotes are.
	hostileCluster = "dfw"
	// atATime is how many remotes are hostile, beside three that are not.
	atATime = 3
	// roomForHostiles is the memory that the program may have then, and
	// timeForHostiles the share of a core: a tenth, and half as much again because the
	// test's own servers flood the same two cores.
	roomForHostiles = 100 << 20
	timeForHostiles = 0.15
	// hostileTime is how long they are, with so many rotations, each of which ends
	// all back-offs: more would leave no key in common with what they had. Where all
	// three are of a kind, it is costlyTime: the reads that they can provoke at once
	// are most of what comes in the first seconds.
	hostileTime  = 8 * time.Second
	costlyTime   = 20 * time.Second
	hostileTurns = 4
	// readsAtOnce and readsPerSecond are the reads that a remote can provoke. Each
	// write but a rotation's first comes after one.
	readsAtOnce, readsPerSecond = 50, 5
	// asFast is how much slower a rotation may be beside hostile remotes: so many
	// times, and by this.
	asFast     = 3
	asFastPlus = 100 * time.Millisecond
)

// Remotes that have fallen into other hands, each in its own way, three at a
// time: they cost neither memory nor processor time, get few requests, whoever
// they redirect to gets neither key nor token, and the other remotes have new
// keys as fast as ever. In good hands again, they are as all others are.
//
// The kinds here are one for each mechanism. TestLongHostileRemotes has the others, and
// internal/kube a table of responses and events. TestContest and TestStorm have the rivals.
func TestHostileRemotes(t *testing.T) {
	allHostile(t, func(k kind) bool { return k.first })
}

func TestLongHostileRemotes(t *testing.T) {
	testenv.Long(t)
	allHostile(t, func(k kind) bool { return !k.first })
}

// allHostile tries the kinds that which chooses, three at a time.
func allHostile(t *testing.T, which func(kind) bool) {
	trap := newTrap(newWorld(t))
	var kinds, others []kind
	for _, k := range slices.Concat(costlyWatches(), costlyAnswers(trap)) {
		switch {
		case !which(k):
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

// hostile has remotes of these kinds beside three honest ones.
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
	t.Logf("memory: %d MiB now, %d MiB at most; %.3f of a core; the honest: %v alone, %v beside",
		now>>20, peak>>20, spent.Seconds()/lasted.Seconds(), alone, beside)
	if peak > roomForHostiles {
		t.Errorf("it takes %d MiB, wanted %d MiB at most", peak>>20, roomForHostiles>>20)
	}
	if share := spent.Seconds() / lasted.Seconds(); share > timeForHostiles {
		t.Errorf("it takes %.3f of a core, wanted %v at most", share, timeForHostiles)
	}
	if beside > asFast*alone+asFastPlus {
		t.Errorf("the honest remotes have new keys after %v, and had them after %v when all were honest", beside, alone)
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
		run.shown(3*testenv.Soon, o.region, kind{}) // a contest goes on until it was quiet for 30 s
		o.neverBack(line...)
	}
	for _, h := range seen {
		h.only(line[1:]...)
	}
}

// spoil has the remote be of that kind, for all requests and watches from now on.
func (o *outpost) spoil(k kind) {
	o.Age(k.old)
	o.honest = len(o.Requests())
	o.Spoil(k.spoil)
	o.Cut()
}

// requests are those since it was spoilt.
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

// limited fails the test where the remote was sent more requests than any can provoke.
func (o *outpost) limited(k kind, since time.Time) {
	o.w.Helper()
	reads, writes := o.requests()
	o.w.Logf("%s: %d reads, %d writes", k.name, reads, writes)
	most := readsAtOnce + int(readsPerSecond*(time.Since(since).Seconds()+1))
	if reads > most {
		o.w.Errorf("%s was read %d times, wanted %d at most", k.name, reads, most)
	}
	if most += hostileTurns + 1; writes > most {
		o.w.Errorf("%s was written %d times, wanted %d at most", k.name, writes, most)
	}
}

// turns rotates so often, and says after how long the remotes had the new keys:
// the median. None may take longer than a second.
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
		w.pass(rotation.Committed.Add(beat))
	}
	return testenv.Percentile(took, 50)
}

func (w *world) cpu(run *replica) time.Duration {
	w.Helper()
	used, err := run.CPU()
	w.Must(err)
	return used
}

// shown waits until /statusz shows a remote as is right for its kind.
func (r *replica) shown(limit time.Duration, remote string, k kind) {
	r.w.Helper()
	want := []string{"Unreachable", "Failed"}
	switch {
	case k.rival:
		want = []string{"Contested", "Synced"}
	case k.on&aWrite == 0: // what LIST and WATCH tell is not needed to write
		want = []string{"Synced"}
	}
	r.w.Within(limit, func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		if state := st.Remote(remote).State; !slices.Contains(want, state) {
			return fmt.Errorf("%s is %s, not one of %v", k.name, state, want)
		}
		return nil
	})
}
