package keystone_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	ownRotations = 8
	ownPace      = time.Second
	// repairedWithin limits the time until fernetcast undoes a remote's first rotation.
	repairedWithin = 5 * time.Second
)

// A remote rotates its own keys, and signs tokens with keys that no other region has. Only these
// tokens are invalid elsewhere. fernetcast undoes the first rotation immediately. If there are
// more, it reports the remote as Contested, and as Synced again after the last one.
func TestRemoteThatRotates(t *testing.T) {
	s := newStage(t, 3)
	s.run.Kill()
	_, s.listen = s.site.StartRun(s, "--backoff-max", "5s")
	s.shows("dfw", func(r *testenv.RemoteStatus) bool { return r.State == "Synced" })
	dfw := s.regions["dfw"]
	var tokens []keystone.Token
	tick := time.NewTicker(ownPace)
	defer tick.Stop()
	for n := range ownRotations {
		// Rotate as the remote's CronJob would, but faster than keystone-manage can start. As in
		// the CronJob, the PUT gets a conflict if a repair is faster.
		own, err := dfw.Cluster.Rotate(s.Ctx, s.NS, s.maxActive)
		if n == 0 {
			s.Must(err)
			s.undone(own)
		}
		tokens = append(tokens, s.issue("dfw"))
		<-tick.C
	}
	// After a single rotation, the remote signs with the key that all regions have staged, so its
	// tokens are valid everywhere. Rotate twice in a row until Keystone has signed with a key that
	// no other region has.
	s.Until(func(ctx context.Context) error {
		if slices.ContainsFunc(tokens, func(token keystone.Token) bool { return !token.OpenedBy(s.keys) }) {
			return nil
		}
		for range 2 {
			// The PUT may conflict.
			_, _ = dfw.Cluster.Rotate(ctx, s.NS, s.maxActive)
		}
		tokens = append(tokens, s.issue("dfw"))
		return errors.New("all tokens of dfw are valid everywhere")
	})
	contested := s.shows("dfw", func(r *testenv.RemoteStatus) bool { return r.State == "Contested" })
	t.Logf("during the rotations: %s", contested.Detail)
	s.sees(s.keys, all...)
	s.shows("dfw", func(r *testenv.RemoteStatus) bool { return r.State == "Synced" })
	lost := 0
	for _, token := range tokens {
		want := refused
		if token.OpenedBy(s.keys) {
			want = good
		} else {
			lost++
		}
		s.is(want, token, all...)
	}
	if lost == 0 || lost == len(tokens) {
		t.Errorf("%d of %d tokens of dfw are invalid, so this test proves nothing", lost, len(tokens))
	}
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
}

// undone waits until fernetcast has undone a remote's rotation.
func (s *stage) undone(own testenv.Rotation) {
	s.Helper()
	s.Within(repairedWithin, func(ctx context.Context) error {
		return shared.Cluster("dfw").Holds(ctx, s.NS, s.keys)
	})
	s.Logf("the remote's first rotation was undone after %v", time.Since(own.Committed).Round(time.Millisecond))
}
