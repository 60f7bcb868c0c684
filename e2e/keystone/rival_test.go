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
	// rightAgain is how soon a remote is put right after its first rotation.
	rightAgain = 5 * time.Second
)

// A remote that rotates on its own signs with keys that nobody else has: just
// the tokens of those are lost, the first one is undone at once, the rest is
// reported, and when it ends all is well by itself.
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
		// As its CronJob would, but faster than keystone-manage starts; it loses
		// its PUT where it races a repair, as the CronJob does.
		own, err := dfw.Cluster.Rotate(s.Ctx, s.NS, s.maxActive)
		if n == 0 {
			s.Must(err)
			s.undone(own)
		}
		tokens = append(tokens, s.issue("dfw"))
		<-tick.C
	}
	// Undone before the next, a rotation has signed with the key that all have staged. Two
	// at once have not, if Keystone sees both before they are undone.
	s.Until(func(ctx context.Context) error {
		if slices.ContainsFunc(tokens, func(token keystone.Token) bool { return !token.OpenedBy(s.keys) }) {
			return nil
		}
		for range 2 {
			// It may lose its PUT.
			_, _ = dfw.Cluster.Rotate(ctx, s.NS, s.maxActive)
		}
		tokens = append(tokens, s.issue("dfw"))
		return errors.New("each of its tokens is good everywhere")
	})
	contested := s.shows("dfw", func(r *testenv.RemoteStatus) bool { return r.State == "Contested" })
	t.Logf("while it goes on: %s", contested.Detail)
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
		t.Errorf("%d of %d of its tokens are lost: it shows nothing", lost, len(tokens))
	}
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
}

// undone waits until a remote's own rotation is undone.
func (s *stage) undone(own testenv.Rotation) {
	s.Helper()
	s.Within(rightAgain, func(ctx context.Context) error {
		return shared.Cluster("dfw").Holds(ctx, s.NS, s.keys)
	})
	s.Logf("the first own rotation was put right in %v", time.Since(own.Committed).Round(time.Millisecond))
}
