package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const rotateEvery = 3 * time.Second

// record collects the results of all rotations.
type record struct {
	slowest  []time.Duration // for each rotation, the time until the last remote was equal
	failures []string
}

func (r *record) summary() string {
	if len(r.slowest)+len(r.failures) == 0 {
		return "No rotations yet."
	}
	if len(r.slowest) == 0 {
		return fmt.Sprintf("No rotation reached all remotes in time. %d late.", len(r.failures))
	}
	sorted := slices.Sorted(slices.Values(r.slowest))
	return fmt.Sprintf("%d rotations. Time until the last remote was equal: %s (median), %s (slowest). %d late.",
		len(r.slowest)+len(r.failures), milliseconds(sorted[len(sorted)/2]), milliseconds(sorted[len(sorted)-1]), len(r.failures))
}

// rotateUntil rotates the keys in the main region until ctx ends, and checks all remotes after each
// rotation. Late remotes are only recorded in record. An error means that the demo itself failed.
func (s *stage) rotateUntil(ctx context.Context, view *screen, record *record) error {
	histories := map[string]*testenv.History{}
	// If ctx ends after a rotation, still finish checking it.
	looking := context.WithoutCancel(ctx)
	for _, c := range s.env.Clusters() {
		h, err := c.Follow(looking, namespace)
		if err != nil {
			return err
		}
		defer h.Stop()
		histories[c.Name] = h
	}
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.syncer.Done():
			return errors.New("fernetcast run exited unexpectedly")
		case <-s.watch.Done():
			return errors.New("fernetcast status --watch exited unexpectedly")
		case <-tick.C:
		}
		if err := s.rotate(looking, view, record, histories); err != nil {
			return err
		}
	}
}

func (s *stage) rotate(ctx context.Context, view *screen, record *record, histories map[string]*testenv.History) error {
	rotation, err := s.rotateMain(ctx)
	if err != nil {
		return fmt.Errorf("rotating in %s: %w", mainRegion, err)
	}
	s.showToken(ctx, view, record, rotation) // must come first, because it measures the time since the rotation
	soon, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	delays, err := arrivals(soon, rotation.Keys, histories)
	if err == nil {
		err = testenv.Until(soon, 20*time.Millisecond, s.allSynced)
	}
	primary := rotation.Keys.Primary()
	if err != nil {
		late := fmt.Sprintf("primary %d did not reach all remotes and /statusz within %s: %v", primary, limit, err)
		record.failures = append(record.failures, late)
		view.event("%s", late)
		return nil
	}
	var each []string
	for _, name := range remoteRegions() {
		each = append(each, name+" "+milliseconds(delays[name]))
	}
	last := slices.MaxFunc(remoteRegions(), func(a, b string) int { return int(delays[a] - delays[b]) })
	record.slowest = append(record.slowest, delays[last])
	view.event("keys rotated in %s: primary %d. Equal after: %s", mainRegion, primary, strings.Join(each, ", "))
	return nil
}

// rotateMain rotates the main region's keys, with keystone-manage if that is installed.
func (s *stage) rotateMain(ctx context.Context) (testenv.Rotation, error) {
	if s.tokens == nil {
		return s.env.Cluster(mainRegion).Rotate(ctx, namespace, maxActive)
	}
	return s.tokens[0].Rotate(ctx, maxActive)
}

// showToken validates a token that is signed with the new key. If a Keystone rejects the token,
// showToken adds a failure to record.
func (s *stage) showToken(ctx context.Context, view *screen, record *record, rotation testenv.Rotation) {
	if s.tokens == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 6*limit) // Keystone is slow, so allow more time
	defer cancel()
	if err := s.show(ctx, view, rotation); err != nil {
		record.failures = append(record.failures, err.Error())
	}
}

// arrivals returns how much later than the main region each remote had exactly these keys,
// according to etcd.
func arrivals(ctx context.Context, keys testenv.Repository, histories map[string]*testenv.History) (map[string]time.Duration, error) {
	seen := map[string]*testenv.Version{}
	waits, ctx := errgroup.WithContext(ctx)
	for name, history := range histories {
		at := &testenv.Version{}
		seen[name] = at
		waits.Go(func() (err error) {
			*at, err = history.Await(ctx, func(v testenv.Version) bool { return keys.Equal(v.Keys()) })
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	if err := waits.Wait(); err != nil {
		return nil, err
	}
	delays := map[string]time.Duration{}
	for _, name := range remoteRegions() {
		delays[name] = seen[name].Seen.Sub(seen[mainRegion].Seen)
	}
	return delays, nil
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
