package clusters

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is closed for good dials no more: a request of a remote that was removed
// meanwhile would leave a connection that nobody closes.
func TestClosedConnectionDialsNoMore(t *testing.T) {
	var dialled atomic.Int32
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			dialled.Add(1)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	conn := connectToServer(t, server)
	if err := get(t, conn); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	conn.Close()
	before := dialled.Load()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keystone-fernet-keys"}}
	// Not a GET: client-go tries that again, ten times in ten seconds.
	_, err := conn.Core.Secrets("openstack").Update(t.Context(), secret, metav1.UpdateOptions{})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if n := dialled.Load(); n != before {
		t.Errorf("%d connections were made after the end", n-before)
	}
}
