package soak

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// sample holds the program's resource use at one moment.
type sample struct {
	files  int
	memory int64 // resident memory, in bytes
}

// TestLongSoak rotates once a second. Meanwhile, one remote keeps failing, and another remote's
// kubeconfig is repeatedly removed and added again with a new token. After the first third of the
// time, the use of file descriptors and memory must not grow. In the end, all copies must match,
// and the program must have as many goroutines and file descriptors as a new process. Goroutines
// are counted in the stack traces that SIGQUIT prints.
func TestLongSoak(t *testing.T) {
	testenv.Long(t)
	s := newStand(t)
	r := s.run()
	first, err := s.site.Home.Secret(s.Ctx, s.NS)
	s.Must(err)
	s.settled(r, first.Data)

	var samples []sample
	var last testenv.Rotation
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(*length); time.Now().Before(end); {
		s.disturb(len(samples))
		last, err = s.site.Home.Rotate(s.Ctx, s.NS, keysKept)
		s.Must(err)
		samples = append(samples, s.sample(r))
		<-tick.C
	}
	s.Must(s.proxy.Set(testenv.Pass))
	s.addOrd()
	s.settled(r, last.Keys)
	s.flat(samples)

	fresh := s.run()
	s.settled(fresh, last.Keys)
	s.compare(r, fresh)
}

// disturb performs step n of a cycle of four: iad refuses connections, recovers, drops packets, and
// recovers. In the first step, ord is removed, and in the third, it is added again.
func (s *stand) disturb(n int) {
	s.Helper()
	switch n % 4 {
	case 0:
		s.Must(s.proxy.Set(testenv.Refuse))
		s.removeOrd()
	case 2:
		s.Must(s.proxy.Set(testenv.Drop))
		s.addOrd()
	default:
		s.Must(s.proxy.Set(testenv.Pass))
	}
}

func (s *stand) sample(r *run) sample {
	s.Helper()
	memory, _, err := r.Memory()
	s.Must(err)
	files, err := r.Files()
	s.Must(err)
	return sample{files, memory}
}

// flat compares the last third of the samples with the second third, and ignores the first, in
// which the program warms up. It compares the maximum number of files and the median memory,
// because connections and garbage collections come and go.
func (s *stand) flat(samples []sample) {
	s.Helper()
	third := len(samples) / 3
	if third < 3 {
		s.Fatalf("only %d samples: %v is too short", len(samples), *length)
	}
	most := func(part []sample) int {
		return slices.MaxFunc(part, func(a, b sample) int { return a.files - b.files }).files
	}
	middle := func(part []sample) int64 {
		part = slices.SortedFunc(slices.Values(part), func(a, b sample) int { return int(a.memory - b.memory) })
		return part[len(part)/2].memory
	}
	second, last := samples[third:2*third], samples[2*third:]
	s.Logf("%d rotations; second and last third: at most %d and %d files; median memory %.1f and %.1f MiB",
		len(samples), most(second), most(last), mebibytes(middle(second)), mebibytes(middle(last)))
	if most(last) > most(second)+4 {
		s.Errorf("file descriptors grow: at most %d, then %d", most(second), most(last))
	}
	if grown := middle(last) - middle(second); grown > middle(second)/10+1<<20 {
		s.Errorf("memory grows: %.1f MiB, then %.1f", mebibytes(middle(second)), mebibytes(middle(last)))
	}
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// compare ends both runs. It fails the test if the old run has more goroutines and file descriptors
// than the new one, with a tolerance of two connections. Idle connections close after 90 s, so the
// comparison must take less time than that to detect leaked ones.
func (s *stand) compare(soaked, fresh *run) {
	s.Helper()
	const files, goroutines = 2, 6
	ctx, cancel := context.WithTimeout(s.Ctx, testenv.Soon/2)
	defer cancel()
	s.Must(testenv.Until(ctx, time.Second, func(context.Context) error {
		old, err := soaked.Files()
		if err != nil {
			return err
		}
		young, err := fresh.Files()
		if err == nil && old > young+files {
			err = fmt.Errorf("%d file descriptors after the soak, %d in a fresh process", old, young)
		}
		return err
	}))
	old, young := s.goroutines(soaked), s.goroutines(fresh)
	s.Logf("%d goroutines after the soak, %d in a fresh process", old, young)
	if old > young+goroutines {
		s.Errorf("%d goroutines after the soak, %d in a fresh process; created by\n%s\nand\n%s", old, young, goroutineOrigins(soaked), goroutineOrigins(fresh))
	}
}

var origin = regexp.MustCompile(`(?m)^created by (\S+)`)

// goroutineOrigins lists how many goroutines each function started, according to a run's stack
// traces.
func goroutineOrigins(r *run) string {
	counts := map[string]int{}
	for _, match := range origin.FindAllStringSubmatch(r.Stderr.String(), -1) {
		counts[match[1]]++
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		lines = append(lines, fmt.Sprintf("%4d %s", counts[name], name))
	}
	return strings.Join(lines, "\n")
}

// goroutines ends the program and returns how many goroutines it had.
func (s *stand) goroutines(r *run) int {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Ctx, testenv.Soon)
	defer cancel()
	n, err := r.Goroutines(ctx)
	s.Must(err)
	return n
}
