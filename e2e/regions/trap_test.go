package regions

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// trap is a server to which hostile remotes redirect requests. It accepts and records every
// request. A client that trusts the cluster's CA also trusts the trap.
type trap struct {
	w      *world
	secure *testenv.Gateway
	plain  *httptest.Server

	mu    sync.Mutex
	taken []string
}

func newTrap(w *world) *trap {
	w.Helper()
	t := &trap{w: w, plain: httptest.NewUnstartedServer(nil)}
	var err error
	t.secure, err = shared.Cluster("dfw").Gateway()
	w.Must(err)
	w.Cleanup(t.secure.Close)
	t.secure.Spoil(func(http.Handler) http.Handler { return t })
	t.plain.Config.Handler = t
	t.plain.Start()
	w.Cleanup(t.plain.Close)
	return t
}

// ServeHTTP implements [http.Handler].
func (t *trap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := httputil.DumpRequest(r, true)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken = append(t.taken, fmt.Sprintf("%s %v", text, err))
	status(w, http.StatusNotFound, metav1.Status{Reason: metav1.StatusReasonNotFound})
}

// empty fails the test if the trap received a request, and reports keys and tokens in that request.
func (t *trap) empty(tokens ...string) {
	t.w.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.w.noLeaks(t.taken...)
	for _, text := range t.taken {
		head, _, _ := strings.Cut(text, "\n")
		t.w.Errorf("a redirect was followed: %s", head)
		if slices.ContainsFunc(tokens, func(token string) bool { return strings.Contains(text, token) }) {
			t.w.Errorf("the redirected request contained the token")
		}
	}
}

// token returns the token in a remote's kubeconfig.
func (w *world) token(remote string) string {
	w.Helper()
	file, err := clientcmd.LoadFromFile(filepath.Join(w.Clusters, remote+".yaml"))
	w.Must(err)
	return file.AuthInfos[file.Contexts[file.CurrentContext].AuthInfo].Token
}
