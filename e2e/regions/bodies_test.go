package regions

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	inProtobuf = testenv.Protobuf
	inJSON     = "application/json"
	html       = "<!doctype html><html><body>Sign in, or go away</body></html>"
)

// code returns a handler that responds like an API server, with a Status of the given code.
func code(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { status(w, code, metav1.Status{Message: "no"}) }
}

func retryLater(code int, after string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		status(w, code, metav1.Status{Message: "later"})
	}
}

// page returns a handler that responds with the given code, content type, and text.
func page(code int, contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{contentType} // even an empty value prevents content sniffing
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text) // the client may close the connection early
	}
}

func protobuf(code int, body []byte) http.HandlerFunc { return page(code, inProtobuf, string(body)) }

func object(o runtime.Object) http.HandlerFunc {
	return protobuf(http.StatusOK, testenv.Encoded(o))
}

func anotherSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "another", Namespace: "kube-system", UID: "theirs", ResourceVersion: "1"}}
}

// namespaceOf returns the namespace in a request's path.
func namespaceOf(r *http.Request) string {
	_, rest, _ := strings.Cut(r.URL.Path, "/namespaces/")
	namespace, _, _ := strings.Cut(rest, "/")
	return namespace
}

// requestedSecret returns the Secret that a request names, or a plausible Secret if that doesn't
// exist.
func requestedSecret(r *http.Request) *corev1.Secret {
	secret, err := shared.Cluster(hostileCluster).Secret(r.Context(), namespaceOf(r))
	if err != nil {
		secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Name: testenv.SecretName, Namespace: namespaceOf(r), UID: "theirs", ResourceVersion: "1"}, Type: corev1.SecretTypeOpaque}
	}
	return secret
}

// unknown encodes an object with arbitrary content (apimachinery's runtime.Unknown).
func unknown(kind string, raw []byte) []byte {
	data, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: kind}, Raw: raw}).Marshal()
	if err != nil {
		panic(err)
	}
	return append([]byte("k8s\x00"), data...)
}

// emptyList encodes a list of empty items, each of which takes two bytes.
func emptyList(items int) []byte {
	return unknown("SecretList", bytes.Repeat([]byte("\x12\x00"), items))
}

// statusOfAMillion encodes a Status with a million causes.
func statusOfAMillion() []byte {
	const causes = 1_000_000
	raw := append([]byte{0x2a}, binary.AppendUvarint(nil, 2*causes)...) // the field details of a Status
	return unknown("Status", append(raw, bytes.Repeat([]byte("\x22\x00"), causes)...))
}

// ownedByMany encodes the Secret with a million owner references, which take only 2 MB.
func ownedByMany(s *corev1.Secret) []byte {
	meta, err := (&metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace, UID: s.UID, ResourceVersion: s.ResourceVersion}).Marshal()
	if err != nil {
		panic(err)
	}
	meta = append(meta, bytes.Repeat([]byte("\x6a\x00"), 1_000_000)...)
	return unknown("Secret", append(append([]byte{0x0a}, binary.AppendUvarint(nil, uint64(len(meta)))...), meta...))
}

func owned(w http.ResponseWriter, r *http.Request) {
	protobuf(http.StatusOK, ownedByMany(requestedSecret(r)))(w, r)
}

func millionOwnersInJSON() string {
	return `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"` + testenv.SecretName + `","uid":"theirs","resourceVersion":"1","ownerReferences":[` +
		strings.Repeat("{},", 999_999) + "{}]}}"
}

func millionCausesInJSON() string {
	return `{"kind":"Status","apiVersion":"v1","code":422,"details":{"causes":[` + strings.Repeat("{},", 999_999) + "{}]}}"
}

// pages responds with a page of a list that never ends: each page refers to another one.
func pages(w http.ResponseWriter, r *http.Request) {
	list := &corev1.SecretList{Items: []corev1.Secret{*requestedSecret(r)}}
	list.ResourceVersion, list.Continue = list.Items[0].ResourceVersion, strconv.FormatInt(time.Now().UnixNano(), 36)
	testenv.Answer(w, http.StatusOK, list)
}

// manyOfIt responds with a list that contains the Secret a thousand times.
func manyOfIt(w http.ResponseWriter, r *http.Request) {
	list := &corev1.SecretList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
	for one := requestedSecret(r); len(list.Items) < 1000; {
		list.Items = append(list.Items, *one)
	}
	testenv.Answer(w, http.StatusOK, list)
}

func gzipped(contentType string, body []byte) http.HandlerFunc {
	var packed bytes.Buffer
	pack := gzip.NewWriter(&packed)
	_, _ = pack.Write(body) // writing to memory can't fail
	_ = pack.Close()
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		page(http.StatusOK, contentType, packed.String())(w, r)
	}
}

// endless returns a handler whose response starts with begin, and then repeats goOn forever.
func endless(contentType string, begin, goOn []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		pour(w, begin, goOn)
	}
}

func endlessError(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", inJSON)
	w.WriteHeader(http.StatusInternalServerError)
	pour(w, []byte(`{"kind":"Status","message":"`), bytes.Repeat([]byte("x"), 32<<10))
}

func pour(w io.Writer, begin, goOn []byte) {
	for more := begin; ; more = goOn {
		if _, err := w.Write(more); err != nil {
			return // the client closed the connection
		}
	}
}

// onTheWire returns a handler that hijacks the connection, writes begin, and then repeats goOn
// forever.
func onTheWire(begin, goOn string) http.HandlerFunc {
	goOn = strings.Repeat(goOn, 1+8<<10/len(goOn))
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err) // HTTP/2 doesn't allow hijacking
		}
		pour(conn, []byte(begin), []byte(goOn))
		_ = conn.Close()
	}
}

func longHeaders(w http.ResponseWriter, _ *http.Request) {
	for i := range 64 {
		w.Header().Set("X-"+strconv.Itoa(i), strings.Repeat("x", 64<<10))
	}
	w.WriteHeader(http.StatusOK)
}

// hints sends informational (1xx) responses until the client disconnects.
func hints(w http.ResponseWriter, r *http.Request) {
	for w.Header().Set("Link", strings.Repeat("x", 1<<10)); r.Context().Err() == nil; {
		w.WriteHeader(http.StatusEarlyHints)
	}
}

// drip returns a handler that sends the text again and again, one byte per dripEvery.
func drip(contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; ; i++ {
			if _, err := w.Write([]byte{text[i%len(text)]}); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(dripEvery):
			}
		}
	}
}

func mute(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func cutOff(_ http.ResponseWriter, r *http.Request) { testenv.Sever(r) }

// redirect returns a handler that redirects each request, with its body, to the same path on
// another server.
func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}
