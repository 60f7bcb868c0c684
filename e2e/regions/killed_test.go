package regions

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// kills is how many times fernetcast is killed.
const kills = 100

// TestKilledAtAnyMoment kills fernetcast at random moments of a push, a start, and a first sync,
// while keys rotate. After each restart, all copies must match. No copy may ever go back to an
// older key set or have an incorrect stamp.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	k := newKilling(t)
	partly := 0
	for round := range kills {
		// Every other round kills fernetcast while it starts. At that time, the remotes lack a
		// rotation, or one lacks its copy.
		starting := round%2 == 1
		if starting {
			k.run.Kill()
			if round%4 == 3 {
				name := remotes[k.random.IntN(len(remotes))]
				k.Must(shared.Cluster(name).Delete(k.Ctx, k.NS))
			}
		}
		k.line = append(k.line, k.rotate().Keys)
		window := &k.pushing
		if starting {
			window = &k.starting
			k.run = k.start()
		}
		k.sleepUntil(time.Now().Add(time.Duration(k.random.Float64() * 1.2 * float64(*window))))
		k.run.Kill()
		if n := k.having(k.line[len(k.line)-1]); n > 0 && n < len(remotes) {
			partly++
		}
		k.run = k.start()
		k.equals()
	}
	t.Logf("%d of %d kills came after some remotes were written; a push takes %v, a start with a push %v", partly, kills, k.pushing, k.starting)
	if partly < kills/20 {
		t.Error("too few kills came during a push for the test to prove anything")
	}
	k.run.allShow("Synced", "", remotes...)
	for _, h := range k.seen {
		h.neverBack(k.line...)
		h.fenced()
		h.stamped()
	}
}

// killing is a world in which fernetcast is killed repeatedly.
type killing struct {
	*world
	random *rand.Rand
	run    *replica
	seen   map[string]*history
	line   []testenv.Repository
	// pushing is how long a push takes, and starting is how long a start that includes a push
	// takes.
	pushing, starting time.Duration
}

// newKilling starts fernetcast, and measures how long a push and a start take. Because the remotes
// have different latencies, each is at a different step of a push when fernetcast is killed.
func newKilling(t *testing.T) *killing {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t)
	k := &killing{world: w, random: rand.New(rand.NewPCG(seed, 0)), line: []testenv.Repository{w.keys()}}
	w.promote()
	for i, name := range remotes {
		proxy, err := shared.Cluster(name).Proxy()
		w.Must(err)
		t.Cleanup(proxy.Close)
		proxy.Delay(time.Duration(i) * 5 * time.Millisecond)
		w.joinAs(name, testenv.Access{Role: testenv.RemoteRole, Server: proxy.URL()})
	}
	k.seen = w.follow(remotes...)
	k.run = k.start()
	k.equals()
	var pushes []time.Duration
	for range 5 {
		rotation := w.rotate()
		k.line = append(k.line, rotation.Keys)
		pushes = append(pushes, k.equals().Sub(rotation.Committed))
	}
	slices.Sort(pushes)
	k.pushing = pushes[len(pushes)/2]
	k.run.Kill()
	k.line = append(k.line, w.rotate().Keys)
	began := time.Now()
	k.run = k.start()
	k.starting = k.equals().Sub(began)
	return k
}

func (k *killing) start() *replica {
	k.Helper()
	return k.runShipped("--resync", "1h")
}

// equals waits until every remote has the newest keys, and returns when the last remote got them.
func (k *killing) equals() (last time.Time) {
	k.Helper()
	k.equal(testenv.Soon, k.line[len(k.line)-1], remotes...)
	for _, h := range k.seen {
		if at := k.arrived(h, k.line[len(k.line)-1]); at.After(last) {
			last = at
		}
	}
	return last
}

// having returns the number of remotes that have the keys now.
func (k *killing) having(keys testenv.Repository) int {
	k.Helper()
	n := 0
	for _, name := range remotes {
		if shared.Cluster(name).Holds(k.Ctx, k.NS, keys) == nil {
			n++
		}
	}
	return n
}

// stamped fails the test unless the stamp of each version matches that version's keys.
func (h *history) stamped() {
	h.w.Helper()
	for _, v := range h.since() {
		if want := stampOf(v.Keys()); !v.Deleted && v.Secret.Annotations["fernetcast/keys"] != want {
			h.w.Fatalf("%s had keys without their stamp: %v: %q, want %q", h.region, describe([]testenv.Version{v}), v.Secret.Annotations["fernetcast/keys"], want)
		}
	}
}

// stampOf returns the fernetcast/keys annotation for the keys, as docs/design.md defines it.
func stampOf(keys testenv.Repository) string {
	var parts []string
	for _, index := range slices.SortedFunc(maps.Keys(keys), func(a, b string) int { return number(a) - number(b) }) {
		parts = append(parts, fmt.Sprintf("%s=%x", index, sha256.Sum256(keys[index]))[:len(index)+1+8])
	}
	return strings.Join(parts, ",")
}

func number(index string) int {
	n, _ := strconv.Atoi(index) // the test wrote this index, so it is a number
	return n
}
