// Package fleet runs the release build with more remotes than one machine can run API servers for.
// One server plays all of them. The tests show how much CPU time and memory fernetcast itself
// needs, not how fast a rotation is.
package fleet

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	mainRegion = "sjc"
	maxActive  = 7 // openstack-helm's max_active_keys
	secretName = "keystone-fernet-keys"
	// bookmarks is the interval of an API server's bookmarks.
	bookmarks = time.Minute
)

var shared *testenv.Env

func TestMain(m *testing.M) { os.Exit(testenv.Main(m, &shared)) }

// fleet is a server that plays the API servers of the main region and all remotes. Each region has
// its own namespace with one Secret.
type fleet struct {
	*httptest.Server

	mu      sync.Mutex
	version int64 // the resourceVersion of the newest Secret
	spaces  map[string]*space
	keys    testenv.Repository
}

// space is a namespace with at most one Secret.
type space struct {
	secret  *corev1.Secret
	version int64
	changed chan struct{} // closed when the Secret changes
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{version: 1000, spaces: map[string]*space{}, keys: shared.Keys.NewRepository(maxActive+1, maxActive)}
	f.Server = httptest.NewUnstartedServer(f)
	f.EnableHTTP2 = true
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.StartTLS()
	t.Cleanup(func() { f.CloseClientConnections(); _ = f.Config.Close() })
	uid := uuid.NewUUID()
	f.store(f.space(mainRegion), &corev1.Secret{Type: corev1.SecretTypeOpaque, Data: f.keys, ObjectMeta: metav1.ObjectMeta{
		Name: secretName, Namespace: mainRegion, UID: uid, CreationTimestamp: metav1.Now(),
		Annotations: map[string]string{"fernetcast/main": mainRegion, "fernetcast/main-term": "1", "fernetcast/main-uid": string(uid)},
	}})
	return f
}

// rotate rotates the main region's keys.
func (f *fleet) rotate() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = shared.Keys.Rotated(f.keys, maxActive)
	next := f.spaces[mainRegion].secret.DeepCopy()
	next.Data = f.keys
	f.store(f.spaces[mainRegion], next)
}

// behind returns the number of remotes without the newest keys.
func (f *fleet) behind(remotes int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, s := range f.spaces {
		if name != mainRegion && s.secret != nil && f.keys.Equal(s.secret.Data) {
			remotes--
		}
	}
	return remotes
}

// space returns a namespace. The caller holds f.mu unless the server is not in use yet.
func (f *fleet) space(name string) *space {
	if f.spaces[name] == nil {
		f.spaces[name] = &space{changed: make(chan struct{})}
	}
	return f.spaces[name]
}

// store stores a Secret. The caller holds f.mu.
func (f *fleet) store(s *space, secret *corev1.Secret) {
	f.version++
	secret.ResourceVersion = strconv.FormatInt(f.version, 10)
	s.secret, s.version = secret, f.version
	close(s.changed)
	s.changed = make(chan struct{})
}

// ServeHTTP implements [http.Handler].
func (f *fleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/") // the parts are "", api, v1, namespaces, NAMESPACE, secrets, NAME
	body, err := io.ReadAll(r.Body)
	if err != nil || len(parts) < 6 || parts[5] != "secrets" { // the request isn't about a Secret; it creates an event, for example
		w.WriteHeader(http.StatusCreated)
		return
	}
	w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
	if r.URL.Query().Has("watch") {
		f.watch(w, r, parts[4])
		return
	}
	f.mu.Lock()
	code, answer := f.serve(r.Method, parts[4], len(parts) == 6, body)
	text := encoded(answer)
	f.mu.Unlock()
	w.WriteHeader(code)
	_, _ = w.Write(text)
}

// serve executes a request. The caller holds f.mu.
func (f *fleet) serve(method, namespace string, list bool, body []byte) (code int, answer runtime.Object) {
	s := f.space(namespace)
	sent := &corev1.Secret{}
	switch {
	case list:
		all := &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatInt(f.version, 10)}}
		if s.secret != nil {
			all.Items = append(all.Items, *s.secret)
		}
		return http.StatusOK, all
	case method == http.MethodGet && s.secret == nil:
		return refused(http.StatusNotFound, metav1.StatusReasonNotFound)
	case method == http.MethodGet:
		return http.StatusOK, s.secret
	case method == http.MethodPatch && s.secret == nil && json.Unmarshal(body, sent) == nil:
		sent.Name, sent.Namespace, sent.UID = secretName, namespace, types.UID(uuid.NewUUID())
	case method == http.MethodPut && runtime.DecodeInto(scheme.Codecs.UniversalDeserializer(), body, sent) == nil &&
		s.secret != nil && sent.ResourceVersion == s.secret.ResourceVersion:
	default:
		return refused(http.StatusConflict, metav1.StatusReasonConflict)
	}
	f.store(s, sent)
	return http.StatusOK, sent
}

func refused(code int, reason metav1.StatusReason) (int, runtime.Object) {
	return code, &metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Details: &metav1.StatusDetails{Kind: "secrets", Name: secretName}}
}

// watch serves a watch until the client ends it.
func (f *fleet) watch(w http.ResponseWriter, r *http.Request, namespace string) {
	sent, _ := strconv.ParseInt(r.URL.Query().Get("resourceVersion"), 10, 64)
	tick := time.NewTicker(bookmarks)
	defer tick.Stop()
	send := func(kind string, object runtime.Object) {
		raw, _ := (&metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: encoded(object)}}).Marshal()
		_, _ = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...))
	}
	for mark := false; ; {
		f.mu.Lock()
		s := f.space(namespace)
		secret, version, changed, newest := s.secret, s.version, s.changed, f.version
		f.mu.Unlock()
		if secret != nil && version > sent {
			sent = version
			send("MODIFIED", secret)
		}
		if mark {
			send("BOOKMARK", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.FormatInt(newest, 10)}})
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
			mark = false
		case <-tick.C:
			mark = true
		case <-r.Context().Done():
			return
		}
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

// kubeconfig returns a kubeconfig for a namespace, as large as those that join creates.
func (f *fleet) kubeconfig(namespace string) []byte {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	return fmt.Appendf(nil, `{current-context: x, contexts: [{name: x, context: {cluster: c, user: u, namespace: %q}}],
users: [{name: u, user: {token: %q}}], clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %q}}]}`,
		namespace, strings.Repeat("t", 900), f.URL, base64.StdEncoding.EncodeToString(ca))
}
