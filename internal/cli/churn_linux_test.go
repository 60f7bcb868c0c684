package cli

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/clusters"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// watched is an API server without Secrets, over TLS and HTTP/2.
type watched struct {
	*httptest.Server
	watches, older atomic.Int32 // the number of open watches, and of HTTP/1 requests
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{}
	w.Server = httptest.NewUnstartedServer(w)
	w.EnableHTTP2 = true
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.StartTLS()
	t.Cleanup(w.Close)
	return w
}

// ServeHTTP implements [http.Handler].
func (w *watched) ServeHTTP(answer http.ResponseWriter, req *http.Request) {
	if req.ProtoMajor < 2 {
		w.older.Add(1)
	}
	answer.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
	switch query := req.URL.Query(); {
	case query.Has("watch"):
		w.watches.Add(1)
		defer w.watches.Add(-1)
		_ = http.NewResponseController(answer).Flush()
		<-req.Context().Done()
	case query.Has("fieldSelector"):
		_, _ = answer.Write(encoded(&corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}))
	default:
		answer.WriteHeader(http.StatusNotFound)
		_, _ = answer.Write(encoded(&metav1.Status{Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
			Details: &metav1.StatusDetails{Kind: "secrets", Name: "keystone-fernet-keys"}}))
	}
}

// encoded returns an object in protobuf, as API servers send it.
func encoded(object runtime.Object) []byte {
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	data, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), object)
	if err != nil {
		panic(err)
	}
	return data
}

func (w *watched) kubeconfig(token int) []byte {
	return fmt.Appendf(nil, `{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],
users: [{name: u, user: {token: "%d"}}], clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %q}}]}`,
		token, w.URL, base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})))
}

// TestComeAndGo adds a remote, sometimes changes its token, and removes it, 200 times, with an
// open watch and requests in progress. No goroutine or file descriptor leaks.
func TestComeAndGo(t *testing.T) {
	const cycles = 200
	server := newWatched(t)
	dir := t.TempDir()
	opts := &options{namespace: "openstack", secret: "keystone-fernet-keys", requestTimeout: time.Minute}
	set := opts.remotes(slog.New(slog.DiscardHandler))
	stays := clusters.File{Name: "stays", Data: server.kubeconfig(0)}
	if err := os.WriteFile(filepath.Join(dir, stays.Name), stays.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { set.Run(ctx, dir, "", unheard{}) })
	defer run.Wait()
	defer cancel()

	cycle := func(n int) {
		t.Helper()
		for token := range 1 + n%2 {
			before, _ := set.Remote("dfw")
			set.Apply([]clusters.File{stays, {Name: "dfw", Data: server.kubeconfig(token)}})
			remote, err := set.Remote("dfw")
			if err != nil || remote == before {
				t.Fatalf("cycle %d: the remote did not get a client: %v", n, err)
			}
			if _, err := remote.Look(ctx); err != nil {
				t.Fatalf("cycle %d: %v", n, err)
			}
			set.Follow("dfw")
			within(t, "the watch is open", func() error { return is(server.watches.Load(), 2) })
		}
		set.Apply([]clusters.File{stays})
		within(t, "the watch is closed", func() error { return is(server.watches.Load(), 1) })
	}
	within(t, "the directory is read", func() error { return is(server.watches.Load(), 1) })
	cycle(1) // creates everything that is created only once
	goroutines := goleak.IgnoreCurrent()
	files := openFiles(t)
	for n := range cycles {
		cycle(n)
	}
	within(t, "every goroutine has ended", func() error { return goleak.Find(goroutines) })
	// The first cycle's connection may still have been open when files was counted.
	within(t, "every file descriptor is closed", func() error { return is(max(openFiles(t), files), files) })
	if n := server.older.Load(); n > 0 {
		t.Errorf("%d requests did not use HTTP/2", n)
	}
}

// unheard ignores a set's events.
type unheard struct{}

func (unheard) ClientChanged(string)  {}
func (unheard) RemoteChanged(string)  {}
func (unheard) RemoteAnswered(string) {}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func is[N comparable](got, want N) error {
	if got != want {
		return fmt.Errorf("%v, not %v", got, want)
	}
	return nil
}

// within polls until check returns nil.
func within(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s: %v", what, err)
		}
	}
}
