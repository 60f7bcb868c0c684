package regions

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// echo is a server that poses as a remote's API server. It responds to writes with errors that
// quote the last write. In some styles, it responds to reads in the same way.
type echo struct {
	*httptest.Server
	// keys are the decoded keys that the server quotes.
	keys []string
	// has is the Secret that the server returns, or nil if there is none.
	has *corev1.Secret

	mu     sync.Mutex
	style  style
	sent   []byte // body of the last write
	writes int
	reads  int
}

// style is one way to quote the body of the last write, or the keys in it, in a response.
type style struct {
	name   string
	answer func(w http.ResponseWriter, sent string, keys []string)
	// reads reports whether the server responds to reads in this way, too.
	reads bool
}

func newEcho(t *testing.T, keys testenv.Repository, has *corev1.Secret) *echo {
	t.Helper()
	e := &echo{has: has}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		e.keys = append(e.keys, string(keys[key]))
	}
	e.Server = httptest.NewUnstartedServer(e)
	e.Server.Config.ErrorLog = nil
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

// set switches to a style and resets the counts.
func (e *echo) set(s style) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.style, e.writes, e.reads = s, 0, 0
}

// counts returns how many writes and reads the server has answered in the current style.
func (e *echo) counts() (writes, reads int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.writes, e.reads
}

// ServeHTTP implements [http.Handler].
func (e *echo) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if req.Method != http.MethodGet {
		e.sent = body
		e.writes++
		e.style.answer(w, string(body), e.keys)
		return
	}
	e.reads++
	switch {
	case e.style.reads && e.sent != nil:
		e.style.answer(w, string(e.sent), e.keys)
	case req.URL.Query().Has("watch"):
		status(w, http.StatusForbidden, metav1.Status{Message: "no watch"})
	case e.has == nil:
		testenv.Answer(w, http.StatusNotFound, testenv.Absent())
	default:
		testenv.Answer(w, http.StatusOK, e.has)
	}
}

// status responds with an API server's Status.
func status(w http.ResponseWriter, code int, st metav1.Status) {
	testenv.Answer(w, code, testenv.Failure(code, st))
}

// plain returns a style that responds with plain text and the given code.
func plain(code int, text func(sent string, keys []string) string) style {
	return style{name: fmt.Sprintf("plain %d", code), answer: func(w http.ResponseWriter, sent string, keys []string) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text(sent, keys))
	}}
}

// spoken returns a style that responds like an API server, with a Status of the given code.
func spoken(name string, code int, text func(sent string, keys []string) string) style {
	return style{name: fmt.Sprintf("%s %d", name, code), answer: func(w http.ResponseWriter, sent string, keys []string) {
		status(w, code, metav1.Status{Message: text(sent, keys)})
	}}
}

// spokenInJSON returns a style that responds with a Status in JSON, as a proxy in front of an API
// server does.
func spokenInJSON(name string, code int, text func(sent string, keys []string) string) style {
	return style{name: fmt.Sprintf("%s %d in JSON", name, code), answer: func(w http.ResponseWriter, sent string, keys []string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		// An error only means that the client has disconnected.
		_ = json.NewEncoder(w).Encode(testenv.Failure(code, metav1.Status{Message: text(sent, keys)}))
	}}
}

func whole(sent string, _ []string) string   { return "cannot take " + sent }
func decoded(_ string, keys []string) string { return "cannot take " + strings.Join(keys, " ") }
func inDecimals(_ string, keys []string) string {
	return fmt.Sprintf("cannot take %v", []byte(keys[0]))
}

// cut quotes keys as a server that truncates its messages would.
func cut(_ string, keys []string) string {
	var list []string
	for _, key := range keys {
		list = append(list, key[:30]+"... is too long")
	}
	return strings.Join(list, ", ")
}

func inPieces(_ string, keys []string) string {
	var pieces []string
	for key := keys[0]; len(key) >= 12; key = key[12:] {
		pieces = append(pieces, key[:12])
	}
	return strings.Join(pieces, "\n")
}

func cutBytes(_ string, keys []string) string {
	return base64.StdEncoding.EncodeToString([]byte(keys[0]))[:36] + "…"
}

// styles returns a list of styles that contains each text and each encoding once.
func styles() []style {
	raw := style{name: "no HTTP", answer: func(w http.ResponseWriter, sent string, keys []string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, keys[0]+" "+sent+"\r\n\r\n")
		_ = conn.Close()
	}}
	list := []style{
		spoken("whole", 422, whole), spoken("decoded", 403, decoded), spoken("decoded", 404, decoded), spoken("cut", 422, cut),
		spoken("cut in base64", 422, cutBytes), spoken("in decimals", 422, inDecimals), spoken("in pieces", 403, inPieces),
		spokenInJSON("decoded", 409, decoded), spokenInJSON("decoded", 200, decoded), plain(500, whole), plain(200, decoded), raw,
		{name: "reason", answer: func(w http.ResponseWriter, _ string, keys []string) {
			status(w, 422, metav1.Status{Reason: metav1.StatusReason(keys[0]), Message: "no"})
		}},
		{name: "causes", answer: func(w http.ResponseWriter, _ string, keys []string) {
			status(w, 422, metav1.Status{Reason: metav1.StatusReasonInvalid, Message: "no", Details: &metav1.StatusDetails{
				Name: keys[0], Kind: keys[1], Causes: []metav1.StatusCause{{Message: keys[0], Field: keys[1]}},
			}})
		}},
		{name: "warning", answer: func(w http.ResponseWriter, _ string, keys []string) {
			w.Header().Set("Warning", fmt.Sprintf("299 - %q", "odd data: "+keys[0]))
			status(w, 422, metav1.Status{Message: "no"})
		}},
		{name: "redirect", answer: func(w http.ResponseWriter, _ string, keys []string) {
			w.Header().Set("Location", "https://elsewhere.invalid/"+keys[0])
			w.WriteHeader(http.StatusTemporaryRedirect)
		}},
		{name: "retry later", answer: func(w http.ResponseWriter, sent string, keys []string) {
			w.Header().Set("Retry-After", "0")
			status(w, 503, metav1.Status{Message: whole(sent, keys)})
		}},
	}
	return onReads(list)
}

// onReads returns the styles in list, and a variant of each that also responds to reads.
func onReads(list []style) []style {
	for _, s := range list {
		s.name, s.reads = s.name+" on reads", true
		list = append(list, s)
	}
	return list
}
