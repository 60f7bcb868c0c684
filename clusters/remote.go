package clusters

import (
	"context"
	"fmt"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

// Remote is a cluster that is to have a copy, and a live client of it. It may
// be used concurrently.
type Remote struct {
	*Follower
	// Server is the API server's address, and Namespace the namespace of the copy.
	Server, Namespace string
	// expires is the result of [Expiry] for its kubeconfig.
	expires *time.Time
	client  *kube.Client
	secrets *kube.Secrets
}

// Clock is the API server's time at its last answer, to the second; false where
// it has told none.
func (r *Remote) Clock() (time.Time, bool) { return r.client.Clock() }

// Write sends the Secret of a decision to create or to update, in one request,
// and returns what is seen then. It never overwrites what the decision did not
// see: that is a conflict, as [apierrors.IsConflict] tells, or NotFound where
// the Secret is gone meanwhile.
func (r *Remote) Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error) {
	var send func(context.Context, *corev1.Secret, string) (*corev1.Secret, error) = r.secrets.Update
	if d.Action == mirror.ActionCreate {
		send = r.secrets.Create
	}
	written, err := send(ctx, d.Secret, mirror.FieldManager)
	if err != nil {
		return mirror.Copy{}, fmt.Errorf("writing Secret %s: %w", d.Secret.Name, err)
	}
	return r.Wrote(written), nil
}
