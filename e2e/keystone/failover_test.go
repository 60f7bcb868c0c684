package keystone_test

import (
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// The main is lost and another region takes over; the old main rotates on in
// its isolation, and when it is back it harms nothing, although its rotation
// job is still on. Lost are just the tokens that it signed with keys which the
// new main never had.
func TestMainLost(t *testing.T) {
	s := newStage(t, 3)
	paths := map[string]*testenv.Proxy{}
	heir := s.At(s.Shipped(), "dfw")
	for _, name := range but("dfw") {
		var err error
		paths[name], err = shared.Cluster(name).Proxy()
		s.Must(err)
		s.Cleanup(paths[name].Close)
		s.Must(heir.Join(s.Ctx, shared.Cluster(name), testenv.Access{Server: paths[name].URL()}))
	}
	early := s.issue(mainRegion)
	s.isolate(testenv.Refuse, paths[mainRegion])

	s.promote(heir)
	_, heirListens := heir.StartRun(s)
	first := s.rotateAt("dfw")
	s.sees(first, "dfw", "iad")
	s.is(good, early, all...)
	s.is(good, s.issue("dfw"), "dfw", "iad")

	// The old main's first rotation brings up the key that was staged for all.
	s.rotate()
	s.sees(s.keys, mainRegion)
	known := s.issue(mainRegion)
	s.is(good, known, all...)
	s.rotate()
	s.sees(s.keys, mainRegion)
	lost := s.issue(mainRegion)
	s.is(good, lost, mainRegion)
	s.is(refused, lost, "dfw", "iad")

	s.Must(s.source.CatchUp(s.Ctx))
	source := len(s.source.Versions())
	s.isolate(testenv.Pass, paths[mainRegion])
	s.sees(first, all...)
	s.is(refused, lost, all...)
	s.is(good, known, all...)
	s.listen = heirListens
	s.shows(mainRegion, func(r *testenv.RemoteStatus) bool { return r.State == "Synced" })

	// Its rotation job is still on: what it puts is undone.
	own, err := s.regions[mainRegion].Rotate(s.Ctx, s.maxActive)
	s.Must(err)
	undone := false
	_, err = s.source.Await(s.Ctx, func(v testenv.Version) bool {
		undone = undone || own.Keys.Equal(v.Keys())
		return undone && first.Equal(v.Keys())
	})
	s.Must(err)
	second := s.rotateAt("dfw")
	s.sees(second, all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
	s.Must(s.source.CatchUp(s.Ctx))
	// Whatever was written there since is the new main's, and the job's.
	s.writes += len(s.source.Versions()) - source
}

// rotateAt runs another region's rotation job.
func (s *stage) rotateAt(region string) testenv.Repository {
	s.Helper()
	done, err := s.regions[region].Rotate(s.Ctx, s.maxActive)
	s.Must(err)
	return done.Keys
}

// isolate cuts the main off from everybody, or ends that.
func (s *stage) isolate(fault testenv.Fault, fromHeir *testenv.Proxy) {
	s.Helper()
	s.Must(fromHeir.Set(fault))
	for _, path := range s.paths {
		s.Must(path.Set(fault))
	}
}
