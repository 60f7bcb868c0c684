package keystone_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// A rotation job whose PUT is overtaken is run again on its dirty scratch folder,
// as a pod's restart does. What comes out is Keystone's affair, and the same in
// every region. That we never cause it is seen in every test: the main's Secret
// is written by nobody but the test.
func TestJobThatLostItsPut(t *testing.T) {
	const maxActive = 3
	s := newStage(t, maxActive)
	token := s.issue(mainRegion)
	job, err := s.regions[mainRegion].Job(maxActive)
	s.Must(err)
	job.Overtaken = func() error {
		s.writes++
		_, err := s.site.Home.Client().CoreV1().Secrets(s.NS).Patch(s.Ctx, testenv.SecretName, types.MergePatchType,
			[]byte(`{"metadata":{"labels":{"touched":"by-somebody"}}}`), metav1.PatchOptions{})
		return err
	}
	if _, err := job.Rotate(s.Ctx); !apierrors.IsConflict(err) {
		t.Fatalf("the overtaken PUT: %v, want a conflict", err)
	}
	s.sees(s.keys, all...)
	s.is(good, token, all...)
	done, err := job.Rotate(s.Ctx)
	s.Must(err)
	s.writes++
	s.keys = done.Keys
	if s.keys.Primary() != token.Index+2 {
		t.Errorf("run again it made primary %d of %d: the folder was clean", s.keys.Primary(), token.Index)
	}
	s.sees(s.keys, all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
	// Of three keys two are the same one now, and the primary of before is gone.
	s.is(refused, token, all...)
	s.sees(s.rotate(), all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
}
