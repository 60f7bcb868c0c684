package clusters

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	if err := get(t, conn); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if n := dialled.Load(); n != before {
		t.Errorf("%d connections were made after the end", n-before)
	}
}
