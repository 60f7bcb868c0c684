package keystone_test

import (
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// The main region becomes unreachable, and another region takes over. The old main region keeps
// rotating in isolation. When it returns, it does no harm, although its rotation job is still
// active. The only tokens that become invalid are those signed with keys that the new main region
// never had.
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

	// The old main region's first rotation makes the staged key, which all regions have, its
	// primary.
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

	// The old main region's rotation job runs once more, and fernetcast undoes its rotation.
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
	// All later versions were written by the new main region and this job.
	s.writes += len(s.source.Versions()) - source
}

// rotateAt runs the rotation job of another region.
func (s *stage) rotateAt(region string) testenv.Repository {
	s.Helper()
	done, err := s.regions[region].Rotate(s.Ctx, s.maxActive)
	s.Must(err)
	return done.Keys
}

// isolate sets a fault on all connections to and from the main region. testenv.Pass ends the
// isolation.
func (s *stage) isolate(fault testenv.Fault, fromHeir *testenv.Proxy) {
	s.Helper()
	s.Must(fromHeir.Set(fault))
	for _, path := range s.paths {
		s.Must(path.Set(fault))
	}
}
