package keystone_test

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// A rotation job's PUT conflicts, and the job runs again in its dirty scratch folder, like a
// restarted pod. The result is up to Keystone, but it is the same in every region. Every test
// checks that fernetcast never causes this conflict: only the test writes the main region's Secret.
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
		t.Errorf("the second run created primary %d; the token has %d: the folder was clean", s.keys.Primary(), token.Index)
	}
	s.sees(s.keys, all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
	// Two of the three keys are now the same, and the previous primary is gone.
	s.is(refused, token, all...)
	s.sees(s.rotate(), all...)
	for _, region := range all {
		s.is(good, s.issue(region), all...)
	}
}
