package keystone_test

import (
	"testing"
)

// A GitOps tool deletes and recreates the main region's Secret, and the setup job creates new keys.
// The remotes keep the old keys, and recover restores them. Tokens from before the deletion become
// valid again everywhere, and tokens that remotes have issued since then stay valid. Only tokens
// that are signed with the new keys become invalid.
func TestRecovered(t *testing.T) {
	s := newStage(t, 3)
	before := s.keys
	old := s.issue(mainRegion)
	s.is(good, old, all...)

	s.recreated()
	s.held("SourceRefused")
	job, err := s.regions[mainRegion].Job(s.maxActive)
	s.Must(err)
	_, err = job.Setup(s.Ctx)
	s.Must(err)
	s.writes++
	s.held("NotPromoted")
	s.is(refused, old, mainRegion)
	s.is(good, old, remotes...)
	since, lost := s.issue("iad"), s.issue(mainRegion)
	s.is(good, since, remotes...)
	s.is(refused, lost, remotes...)

	s.exits(0, s.site, "recover", "--from", "dfw", "--yes")
	s.writes++
	s.sees(before, all...)
	s.is(good, old, all...)
	s.is(good, since, all...)
	s.is(refused, lost, remotes...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
}
