package access

import (
	"context"
	"fmt"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// provePause is the delay between two examinations of a new kubeconfig.
const provePause = 200 * time.Millisecond

// A Refusal rejects the operator's input as incorrect usage.
type Refusal struct{ error }

// Unwrap returns the cause, for the errors package.
func (r Refusal) Unwrap() error { return r.error }

// Request has run write a copy that is already Synced: it removes the pushed version from its stamp.
// When the copy is Synced again, run has written it since.
func (j *Join) Request(ctx context.Context) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, mirror.StampVersion)
	_, err := j.There.Core.Secrets(j.Kubeconfig.Namespace).Patch(ctx, j.Operator.Secret, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager})
	return err
}

// keys describes the effect on the remote's keys.
func (j *Join) keys(c mirror.Copy) string {
	src := j.Operator.Source
	d := mirror.Decide(src, c, false)
	primary := c.Fingerprints().Primary()
	switch {
	case c.UID() == "":
		return "none yet: they will be created"
	case d.State == mirror.StateSynced, c.SameKeys(src):
		return "identical to the main region's"
	case d.State == mirror.StateHeld && src.State() == mirror.SourceMain:
		return "held: " + d.Detail
	case primary == 0:
		return "none yet: they will be written"
	case d.Reason == mirror.ReasonUnstamped || src.State() != mirror.SourceMain:
		return fmt.Sprintf("its own (primary %d): they will be replaced, and tokens signed with them become invalid", primary)
	}
	return fmt.Sprintf("%s (primary %d): they will be updated", c.Whose(src), primary)
}

// prove examines the remote through a new kubeconfig, the way run uses it. RBAC changes take a
// moment to reach all API servers, so prove retries until ctx ends.
func (j *Join) prove(ctx context.Context, kubeconfig []byte) (why error) {
	remote := j.Remote(kubeconfig)
	_ = wait.PollUntilContextCancel(ctx, provePause, true, func(ctx context.Context) (bool, error) {
		err := proof(preflight.Examine(ctx, remote))
		if err == nil || why == nil || ctx.Err() == nil { // an examination that ctx interrupts gives a less specific reason
			why = err
		}
		return err == nil, nil
	})
	return why
}

// proof returns nil if a new kubeconfig works and has exactly the permissions in manifests/remote.
func proof(found preflight.Examined) error {
	if err := found.Err(); err != nil {
		return err
	}
	for _, id := range []string{"rights", "excess"} {
		if c := found.Of(id); c.Result != preflight.Pass {
			return c
		}
	}
	return nil
}
