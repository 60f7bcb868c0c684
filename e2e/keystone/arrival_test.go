package keystone_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const arrivals = 10

// TestArrival measures the time from the end of keystone-manage until each remote's Keystone
// accepts a token that is signed with the new staged key. A simulated kubelet updates the pods
// immediately. The test logs the figures for docs/figures.md, and fails only if a region never
// accepts such a token.
func TestArrival(t *testing.T) {
	s := newStage(t, 7)
	steps := []string{"the job's PUT", "watch and push", "kubelet's stand-in", "first 200", "all"}
	took := map[string]map[string][]time.Duration{}
	for _, name := range remotes {
		took[name] = map[string][]time.Duration{}
	}
	histories := map[string]*testenv.History{}
	for _, name := range all {
		var err error
		histories[name], err = shared.Cluster(name).Follow(s.Ctx, s.NS)
		s.Must(err)
		s.Cleanup(histories[name].Stop)
	}
	for range arrivals {
		token := s.issue(mainRegion)
		done, err := s.regions[mainRegion].Rotate(s.Ctx, s.maxActive)
		s.Must(err)
		s.writes++
		token = s.resealed(token, done.Keys["0"])
		begun := s.committed(histories[mainRegion], done.Keys)
		var arriving errgroup.Group
		for _, name := range remotes {
			arriving.Go(func() error {
				at, err := s.arrive(name, histories[name], done.Keys, token)
				at = append([]time.Time{done.Sent, begun}, at...)
				for i := range len(at) - 1 {
					took[name][steps[i]] = append(took[name][steps[i]], at[i+1].Sub(at[i]))
				}
				took[name]["all"] = append(took[name]["all"], at[len(at)-1].Sub(at[0]))
				return err
			})
		}
		s.Must(arriving.Wait())
	}
	var table strings.Builder
	for _, name := range remotes {
		for _, step := range steps {
			percentile := func(p float64) time.Duration {
				return testenv.Percentile(took[name][step], p).Round(100 * time.Microsecond)
			}
			fmt.Fprintf(&table, "\n| %s | %s | %v | %v |", name, step, percentile(50), percentile(99))
		}
	}
	t.Logf("%d rotations: region, step, p50, p99%s", arrivals, table.String())
}

// resealed returns the same token, but signed with another key. A region would issue it in this
// form after the next rotation.
func (s *stage) resealed(token keystone.Token, key []byte) keystone.Token {
	s.Helper()
	sealed, err := keystone.Reseal(token.Text, token.Key, string(key))
	s.Must(err)
	token.Text, token.Key = sealed, string(key)
	return token
}

// arrive returns the times when the keys arrived in a remote's cluster and in its pod, and when its
// Keystone accepted a token that is signed with the staged key.
func (s *stage) arrive(name string, h *testenv.History, keys testenv.Repository, token keystone.Token) ([]time.Time, error) {
	v, err := h.Await(s.Ctx, func(v testenv.Version) bool { return keys.Equal(v.Keys()) })
	if err != nil {
		return nil, err
	}
	mounted, err := s.regions[name].Await(s.Ctx, keys)
	if err != nil {
		return nil, err
	}
	err = testenv.Until(s.Ctx, time.Millisecond, func(ctx context.Context) error {
		answer, err := s.regions[name].Validate(ctx, token)
		if err == nil && answer.Status != good {
			err = fmt.Errorf("%s returns %d for a token that is signed with the staged key", name, answer.Status)
		}
		return err
	})
	return []time.Time{v.Seen, mounted, time.Now()}, err
}

// committed waits until a cluster has the keys, and returns when they were committed to etcd.
func (s *stage) committed(h *testenv.History, keys testenv.Repository) time.Time {
	s.Helper()
	v, err := h.Await(s.Ctx, func(v testenv.Version) bool { return keys.Equal(v.Keys()) })
	s.Must(err)
	return v.Seen
}
