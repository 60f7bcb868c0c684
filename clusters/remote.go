package clusters

import (
	"context"
	"fmt"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

// A Remote is a live client for a cluster that receives a copy. It is safe for concurrent use.
type Remote struct {
	*Follower
	// Server is the API server's address. Namespace is the copy's namespace.
	Server, Namespace string
	// life is the lifetime of its credentials, or nil.
	life    *kubeconfig.Lifetime
	client  *kube.Client
	secrets *kube.Secrets
}

// Clock returns the time in the API server's last response, to the second, or false if it is
// unknown.
func (r *Remote) Clock() (time.Time, bool) { return r.client.Clock() }

// Write creates or updates the Secret of a decision in one request, and returns the new copy. It
// never overwrites a version that the decision didn't see: the error is then a conflict
// ([apierrors.IsConflict]), or NotFound if the Secret was deleted.
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
