package clusters

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

const (
	// headerTable is the size, in bytes, of HTTP/2's two header compression tables:
	// so small that they stay empty. Two of 4 KiB, and what they hold on to, are much
	// of a remote's memory, and little is saved between two requests a minute.
	headerTable = 1
	// pingAfter is how long a connection is silent before it is asked whether it
	// lives. It is the watch alone that waits for that: a request has its own
	// deadline, and resets the connection. More often, a thousand remotes' pings
	// would be most of what an idle process does.
	pingAfter = 30 * time.Second
)

// spare makes a connection that is one of many cost little while it is idle. The
// transport is one of net/http's because the config has a Proxy function.
func spare(transport http.RoundTripper) http.RoundTripper {
	if t, ok := transport.(*http.Transport); ok {
		t.HTTP2 = &http.HTTP2Config{
			MaxDecoderHeaderTableSize: headerTable,
			MaxEncoderHeaderTableSize: headerTable,
			SendPingTimeout:           pingAfter,
		}
	}
	return transport
}

// Follower knows what a remote has: a watcher of its Secret is one. It may be
// used concurrently.
type Follower interface {
	// Run watches until ctx is done.
	Run(ctx context.Context)
	// Seen is what was seen last, and whether that is fresh.
	Seen() (mirror.Copy, bool)
	// Get reads the remote.
	Get(ctx context.Context) (mirror.Copy, error)
	// Wrote takes the answer to a write of ours. It tells nobody: the writer decides
	// again by itself.
	Wrote(*corev1.Secret)
}

// Follow makes the Follower of a remote's Secret. timedOut is to be called
// when a request found no answer in time.
type Follow func(remote string, secrets corev1client.SecretInterface, timedOut func()) Follower

// Remote is a cluster that is to have a copy, and a live client of it. It may
// be used concurrently.
type Remote struct {
	server   string
	conn     *Connection
	secrets  corev1client.SecretInterface
	follower Follower
	timeout  time.Duration
}

// Address is the API server's.
func (r *Remote) Address() string { return r.server }

// Clock is the API server's time at its last answer, to the second; false where
// it has told none.
func (r *Remote) Clock() (time.Time, bool) { return r.conn.clock.now() }

// Copy is what was seen of the remote last, and whether that is fresh.
func (r *Remote) Copy() (mirror.Copy, bool) { return r.follower.Seen() }

// Look reads the remote's Secret.
func (r *Remote) Look(ctx context.Context) (mirror.Copy, error) { return r.follower.Get(ctx) }

// Write sends the Secret of a decision to Create or to Update, in one request,
// and returns what is seen then. It never overwrites what the decision did not
// see: that is a conflict, as [apierrors.IsConflict] tells, or NotFound where
// the Secret is gone meanwhile.
func (r *Remote) Write(ctx context.Context, d mirror.Decision) (mirror.Copy, error) {
	send := r.update
	if d.Action == mirror.ActionCreate {
		send = r.create
	}
	err := r.conn.Timed(ctx, r.timeout, func(ctx context.Context) error {
		written, err := send(ctx, d.Secret)
		if err == nil {
			r.follower.Wrote(written)
		}
		return err
	})
	if err != nil {
		return mirror.Copy{}, fmt.Errorf("writing Secret %s: %w", d.Secret.Name, err)
	}
	seen, _ := r.follower.Seen()
	return seen, nil
}

// update carries the resourceVersion and the uid of the copy that was decided
// on: without a resourceVersion an API server overwrites blindly.
func (r *Remote) update(ctx context.Context, s *corev1.Secret) (*corev1.Secret, error) {
	return r.secrets.Update(ctx, s, metav1.UpdateOptions{FieldManager: mirror.FieldManager})
}

// create is a server-side apply, because RBAC can limit its verbs to one name,
// and a POST's not. With a resourceVersion it makes an absent Secret, and is a
// conflict where there is one.
func (r *Remote) create(ctx context.Context, s *corev1.Secret) (*corev1.Secret, error) {
	apply := corev1apply.Secret(s.Name, "").
		WithResourceVersion("1").
		WithAnnotations(s.Annotations).
		WithType(s.Type).
		WithData(s.Data)
	apply.Namespace = nil // the request's own
	return r.secrets.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: mirror.FieldManager})
}
