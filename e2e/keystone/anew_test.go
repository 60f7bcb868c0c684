package keystone_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// The main region's Secret is emptied, or a GitOps tool deletes and recreates it, and the setup job
// creates new keys. The remotes become Held, and accept older tokens until an operator confirms the
// new keys.
func TestSetUpAnew(t *testing.T) {
	s := newStage(t, 3)
	s.emptied()
	s.setUpAnew("SourceRefused", "Discontinuous", func() { s.exits(0, s.site, "push", "--force") })
	s.recreated()
	s.setUpAnew("SourceRefused", "NotPromoted", func() { s.promote(s.site, "--force") })
}

// emptied removes the keys from the main region's Secret.
func (s *stage) emptied() {
	s.Helper()
	_, err := s.site.Home.Put(s.Ctx, s.NS, testenv.Repository{})
	s.Must(err)
	s.writes++
}

// recreated deletes the main region's Secret and recreates it without keys, as helm does.
func (s *stage) recreated() {
	s.Helper()
	s.Must(s.site.Home.Delete(s.Ctx, s.NS))
	_, err := s.site.Home.Client().CoreV1().Secrets(s.NS).Create(s.Ctx,
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: testenv.SecretName}}, metav1.CreateOptions{})
	s.Must(err)
	s.writes += 2
}

// setUpAnew runs the setup job on the empty Secret, and checks that the remotes are Held before and
// after it. Then it calls wayOut, which pushes the new keys.
func (s *stage) setUpAnew(empty, anew string, wayOut func()) {
	s.Helper()
	before := s.keys
	token := s.issue("dfw")
	s.held(empty)
	s.is(good, token, remotes...)

	job, err := s.regions[mainRegion].Job(s.maxActive)
	s.Must(err)
	done, err := job.Setup(s.Ctx)
	s.Must(err)
	s.writes++
	s.keys = done.Keys
	s.sees(s.keys, mainRegion)
	s.held(anew)
	s.sees(before, remotes...)
	s.is(good, token, remotes...)
	s.is(refused, token, mainRegion)
	s.is(refused, s.issue(mainRegion), remotes...)

	wayOut()
	s.sees(s.keys, all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
	s.is(refused, token, all...)
}

// held waits until every remote is Held for this reason.
func (s *stage) held(reason string) {
	s.Helper()
	for _, name := range remotes {
		s.shows(name, func(r *testenv.RemoteStatus) bool { return r.State == "Held" && r.Reason == reason })
	}
}
