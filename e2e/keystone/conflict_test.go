package keystone_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// A rotation job's PUT gets a conflict, and the job runs again with the files of its first run, as
// in a restarted pod. Which keys result is up to Keystone, but every region gets the same ones.
// fernetcast itself never causes such a conflict: every test checks that only the test writes the
// main region's Secret.
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
		t.Fatalf("the conflicting PUT returned %v, want a conflict", err)
	}
	s.sees(s.keys, all...)
	s.is(good, token, all...)
	done, err := job.Rotate(s.Ctx)
	s.Must(err)
	s.writes++
	s.keys = done.Keys
	if s.keys.Primary() != token.Index+2 {
		t.Errorf("the second run created primary %d, and the token's key is %d, so the scratch folder was empty", s.keys.Primary(), token.Index)
	}
	s.sees(s.keys, all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
	// Two of the three keys are now the same, and the primary key that signed the token is gone.
	s.is(refused, token, all...)
	s.sees(s.rotate(), all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
}
