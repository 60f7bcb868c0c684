package kube

import (
	"context"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

func TestMain(m *testing.M) {
	// The second of apimachinery's error handlers sleeps until a wall-clock time, which is years
	// away in a synctest bubble.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	goleak.VerifyTestMain(m)
}

const (
	namespace = "openstack"
	name      = "keystone-fernet-keys"
)

// connection is the context key for a request's connection.
type connection struct{}

// serve starts an HTTP/2 server and returns a client that treats it as a remote. state is called
// with the state changes of its connections.
func serve(t *testing.T, timeout time.Duration, handler http.HandlerFunc, state ...func(http.ConnState)) *Client {
	t.Helper()
	return serveTo(t, Options{UserAgent: "test", Timeout: timeout, Remote: true}, handler, state...)
}

// serveSource starts a server and returns a client that treats it as the source.
func serveSource(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	return serveTo(t, Options{UserAgent: "test", Timeout: 10 * time.Second}, handler)
}

func serveTo(t *testing.T, opts Options, handler http.HandlerFunc, state ...func(http.ConnState)) *Client {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, connection{}, conn)
	}
	server.Config.ConnState = func(_ net.Conn, to http.ConnState) {
		for _, tell := range state {
			tell(to)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	token := "a-token"
	if opts.SignIn.Tokens != nil {
		token = ""
	}
	client, err := New(&rest.Config{Host: server.URL, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// encode encodes an object as an API server does.
func encode(object runtime.Object) []byte {
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), mediaType)
	data, err := runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), object)
	if err != nil {
		panic(err)
	}
	return data
}

// event returns an encoded watch event.
func event(kind watch.EventType, object runtime.Object) []byte {
	return framed(kind, encode(object))
}

func framed(kind watch.EventType, raw []byte) []byte {
	data, err := (&metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: raw}}).Marshal()
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}

// good returns the requested Secret, after edits.
func good(edits ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: "a-uid", ResourceVersion: "7"},
		Type:       corev1.SecretTypeOpaque, Data: map[string][]byte{"0": []byte("a"), "1": []byte("b")},
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func notFound(kind, of string) *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
		Message: "not found", Details: &metav1.StatusDetails{Kind: kind, Name: of}}
}

// answer returns a handler that sends this response.
func answer(code int, contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		if bodyAllowed := code != http.StatusNoContent && code != http.StatusNotModified; bodyAllowed {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.WriteHeader(code)
		_, _ = w.Write(body) // the client may have closed the connection
	}
}
