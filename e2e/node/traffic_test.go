//go:build linux

package node_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	trafficRotations = 25
	// rate is the number of tokens that are validated per second in a Keystone with `fernetcast
	// files`. slowRate is the number in each other Keystone, which is only there for comparison.
	rate, slowRate = 100, 10
	// oldKey is the age, in rotations, of a key that every pod still has.
	oldKey = 22
)

// counted holds the results of validations in one Keystone.
type counted struct {
	mu       sync.Mutex
	statuses map[int]int
	failed   map[string]int
	late     int // validations that were skipped because too many requests were still pending
}

func (c *counted) add(status int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed[err.Error()]++
		return
	}
	c.statuses[status]++
}

func (c *counted) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%v, without a response %d, not sent in time %d", c.statuses, len(c.failed), c.late)
}

// traffic validates tokens in every Keystone during many rotations. Their keys are in both the old
// and the new key set. In a Keystone with `fernetcast files`, all must be valid. For the others,
// traffic logs how many are not.
func (s *stage) traffic(open []door) {
	base, err := s.issue(s.Ctx, one(open, mainRegion, "files"))
	s.Must(err)
	keys := testenv.Repository(s.secret(s.main, namespace).Data) // after arrival's rotations, the set has enough keys for oldKey
	signed := primary(keys)
	var mu sync.Mutex
	var old, fresh string
	seal := func(keys testenv.Repository) {
		s.Helper()
		reseal := func(index int) string {
			token, err := keystone.Reseal(base, signed, string(keys[strconv.Itoa(index)]))
			s.Must(err)
			return token
		}
		was, is := reseal(keys.Primary()-oldKey), reseal(keys.Primary())
		mu.Lock()
		defer mu.Unlock()
		old, fresh = was, is
	}
	seal(keys)
	ctx, stop := context.WithCancel(s.Ctx)
	defer stop()
	counts := map[string]*counted{}
	var shown sync.WaitGroup
	for _, d := range []door{one(open, mainRegion, "files"), one(open, phx, "files"), one(open, phx, "kubelet"), one(open, phx, "loop")} {
		c := &counted{statuses: map[int]int{}, failed: map[string]int{}}
		counts[d.String()] = c
		shown.Go(func() {
			s.show(ctx, d, c, func(n int) string {
				mu.Lock()
				defer mu.Unlock()
				if d.way == "files" && n%2 == 0 {
					return fresh
				}
				return old
			})
		})
	}
	began := time.Now()
	for range trafficRotations {
		keys, _ := s.rotate(manyKeys)
		seal(keys)
		s.filesHold(open, keys)
	}
	took := time.Since(began)
	stop()
	shown.Wait()
	var table strings.Builder
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&table, "\n%s: %s", name, counts[name])
		c := counts[name]
		if strings.HasSuffix(name, " files") {
			if len(c.failed) > 0 || len(c.statuses) != 1 || c.statuses[http.StatusOK] == 0 {
				s.Errorf("%s: %v %v", name, c, c.failed)
			}
		}
	}
	s.Logf("%d rotations in %.0f s%s", trafficRotations, took.Seconds(), table.String())
}

// filesHold waits until `fernetcast files` has finished its update in each pod: according to its
// metrics, the repository has equaled the Secret since the last change.
func (s *stage) filesHold(open []door, keys testenv.Repository) {
	s.Helper()
	s.Within(soon, func(ctx context.Context) error { return s.filesHaveAll(ctx, open, keys) })
}

// filesHaveAll returns nil if filesHave returns nil for each Keystone with `fernetcast files`.
func (s *stage) filesHaveAll(ctx context.Context, open []door, keys testenv.Repository) error {
	for _, d := range open {
		if d.way != "files" {
			continue
		}
		if err := s.filesHave(ctx, d, keys); err != nil {
			return err
		}
	}
	return nil
}

// show validates tokens at a fixed rate, with few concurrent requests, until ctx ends.
func (s *stage) show(ctx context.Context, d door, c *counted, token func(n int) string) {
	perSecond, out := rate, 4
	if d.way != "files" {
		perSecond, out = slowRate, 1
	}
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	places := make(chan struct{}, out)
	var sent sync.WaitGroup
	defer sent.Wait()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case places <- struct{}{}:
		default:
			c.mu.Lock()
			c.late++
			c.mu.Unlock()
			continue
		}
		text := token(n)
		sent.Go(func() {
			defer func() { <-places }()
			c.add(s.validate(s.Ctx, d, text))
		})
	}
}

// filesHave returns nil if, according to the metrics of `fernetcast files`, a Keystone's repository
// has the keys in the current Secret.
func (s *stage) filesHave(ctx context.Context, d door, keys testenv.Repository) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.Replace(d.URL, ":5000", ":9466", 1)+"/metrics", nil)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	have, err := metrics(response.Body)
	if err != nil {
		return err
	}
	if have["fernetcast_files_primary_index"] != float64(keys.Primary()) {
		return fmt.Errorf("%s has primary %v, want %d", d, have["fernetcast_files_primary_index"], keys.Primary())
	}
	if age := float64(time.Now().UnixMilli())/1000 - have["fernetcast_files_last_match_timestamp_seconds"]; age > 1.5 {
		return fmt.Errorf("%s last matched the Secret %.1f s ago", d, age)
	}
	return nil
}
