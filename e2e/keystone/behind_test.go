package keystone_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// Without fernetcast, a remote rejects tokens as soon as it is two generations behind. This shows
// that the other tests can fail.
func TestWithoutFernetcast(t *testing.T) {
	s := newStage(t, 3)
	s.run.Kill()
	for behind := range 3 {
		if behind > 0 {
			s.sees(s.rotate(), mainRegion)
		}
		want := good
		if behind == 2 {
			want = refused
		}
		token := s.issue(mainRegion)
		s.is(good, token, mainRegion)
		s.is(want, token, remotes...)
		if said := s.exits(min(behind, 1), s.site, "status"); behind > 0 && !strings.Contains(said, plural(behind)) {
			t.Errorf("at %d generations behind, status prints\n%s", behind, said)
		}
	}
	s.exits(0, s.site, "push")
	s.sees(s.keys, all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
}

func plural(behind int) string {
	if behind == 1 {
		return "1 generation behind"
	}
	return fmt.Sprintf("%d generations behind", behind)
}

// How many generations a disconnected remote is behind determines exactly which tokens it rejects.
// When it is equal again, it accepts all tokens, however long it was disconnected. If the remote
// and the main region have no key in common anymore, and `run` has restarted since, the remote is
// Held until an operator decides.
func TestCutOff(t *testing.T) {
	const maxActive = 4
	s := newStage(t, maxActive)
	for _, missed := range []int{1, 2, maxActive - 1, maxActive, maxActive + 1} {
		before := s.keys.Primary()
		tokens := s.issueAll()
		s.Must(s.paths["dfw"].Set(testenv.Refuse))
		for behind := 1; behind <= missed; behind++ {
			s.sees(s.rotate(), but("dfw")...)
			tokens = append(tokens, s.issueAll()...)
			s.shows("dfw", func(r *testenv.RemoteStatus) bool {
				return r.State == "Unreachable" && r.Behind != nil && *r.Behind == behind
			})
			for _, token := range tokens {
				s.is(s.byGeneration(token, before), token, "dfw")
				s.is(s.byGeneration(token, s.keys.Primary()), token, but("dfw")...)
			}
		}
		if missed > maxActive { // the key sets have no key in common, and the new process has not seen the rotations
			s.run.Kill()
			s.run, s.listen = s.site.StartRun(s)
		}
		s.Must(s.paths["dfw"].Set(testenv.Pass))
		if missed > maxActive {
			s.shows("dfw", func(r *testenv.RemoteStatus) bool { return r.State == "Held" && r.Reason == "Discontinuous" })
			s.is(refused, s.issue(mainRegion), "dfw")
			s.exits(0, s.site, "push", "dfw", "--force")
		}
		s.sees(s.keys, all...)
		for _, token := range append(tokens, s.issueAll()...) {
			s.is(s.byGeneration(token, s.keys.Primary()), token, all...)
		}
	}
}

func (s *stage) issueAll() []keystone.Token {
	s.Helper()
	var tokens []keystone.Token
	for _, region := range all {
		tokens = append(tokens, s.issue(region))
	}
	return tokens
}

// byGeneration returns the HTTP status that must result when a region with the given primary
// validates a token. The region has the keys of the last max_active_keys - 1 primaries, and the
// staged key, which is the next primary.
func (s *stage) byGeneration(token keystone.Token, primary int) int {
	if token.Index <= primary+1 && token.Index > primary-(s.maxActive-1) {
		return good
	}
	return refused
}

// The rotation gate, `fernetcast wait`, delays a rotation while a remote is disconnected. So all
// tokens stay valid.
func TestGatedRotation(t *testing.T) {
	s := newStage(t, 4) // keep four keys, because a remote that is behind still signs with the previous primary
	s.Must(s.paths["iad"].Set(testenv.Refuse))
	s.sees(s.rotate(), but("iad")...)
	tokens := s.issueAll()
	gate := []string{"wait", "--settle", "2s", "--timeout"}
	if said := s.exits(1, s.site, append(gate, "4s")...); !strings.Contains(said, "iad (Unreachable)") {
		t.Errorf("the gate does not name the remote that it waits for:\n%s", said)
	}
	for _, token := range append(tokens, s.issueAll()...) {
		s.is(good, token, all...)
	}
	s.Must(s.paths["iad"].Set(testenv.Pass))
	s.exits(0, s.site, append(gate, "1m")...)
	s.sees(s.keys, all...)
	s.sees(s.rotate(), all...)
	for _, token := range append(tokens, s.issueAll()...) {
		s.is(good, token, all...)
	}
}
