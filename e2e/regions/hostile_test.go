package regions

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// roomForHostiles is the memory that the program may have beside so many hostile
// remotes. None of their answers is read beyond 4 MiB, of which there are some
// copies until they are collected: it was 81 MiB once.
const roomForHostiles = 192 << 20

// Remotes that have fallen into other hands, each in its own way, all at once:
// the others have new keys at once, memory stays bounded, and whoever is
// redirected to gets neither key nor token. In good hands again, they are as
// all others are.
func TestHostileRemotes(t *testing.T) {
	w := newWorld(t)
	line := []testenv.Repository{w.keys()}
	w.promote()
	w.join("iad", "ord")
	trap := newTrap(w)
	hostiles := map[*outpost]http.HandlerFunc{}
	for name, answer := range map[string]http.HandlerFunc{
		"mute":               func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"drip":               drip,
		"endless":            endless("application/json", []byte(`{"kind":"Secret","metadata":{"name":"`), bytes.Repeat([]byte("x"), 32<<10)),
		"endless-watch":      onWatch(endless("application/json", []byte(`{"type":"ADDED","object":{"kind":"`), bytes.Repeat([]byte("x"), 32<<10))),
		"endless-protobuf":   onWatch(endless("application/vnd.kubernetes.protobuf;stream=watch", binary.BigEndian.AppendUint32(nil, 1<<31-1), make([]byte, 32<<10))),
		"endless-list":       noWatch(endless("application/json", []byte(`{"kind":"SecretList","items":[`), bytes.Repeat([]byte("{},"), 10<<10))),
		"redirects":          redirect(trap.secure.URL()),
		"redirects-to-plain": redirect(trap.plain.URL),
	} {
		hostiles[w.outpost(name, "dfw")] = answer
	}
	wall, err := shared.Cluster("dfw").Proxy()
	w.must(err)
	t.Cleanup(wall.Close)
	w.joinAs("dfw", testenv.Access{Role: testenv.RemoteRole, Server: wall.URL()})
	run := w.runShipped("--request-timeout", "2s", "--backoff-max", "2s", "--resync", "2s")
	seen := w.follow(remotes...)
	for o := range hostiles {
		w.arrived(o.history, line[0])
	}
	w.equal(soon, line[0], remotes...)
	run.allShow("Synced", "", remotes...)

	// A write is what they get first, then they are asked for all else.
	w.must(wall.Set(testenv.Hold))
	for o, answer := range hostiles {
		o.Spoil(func(http.Handler) http.Handler { return answer })
	}
	line = append(line, w.rotateAtOnce(seen, "iad", "ord"))
	for o := range hostiles {
		o.Cut()
	}
	for range 4 {
		w.pass(time.Now().Add(3 * time.Second))
		line = append(line, w.rotateAtOnce(seen, "iad", "ord"))
		if now, peak, err := run.Memory(); err != nil || peak > roomForHostiles {
			t.Fatalf("memory: %d MiB now, %d MiB at most, %v", now>>20, peak>>20, err)
		}
	}
	for o := range hostiles {
		run.ails(o.region)
	}
	run.ails("dfw")
	trap.empty(w.token("redirects"), w.token("redirects-to-plain"))

	w.must(wall.Set(testenv.Pass))
	for o := range hostiles {
		o.Spoil(nil)
	}
	last := line[len(line)-1]
	w.equal(soon, last, remotes...)
	run.allShow("Synced", "", remotes...)
	for o := range hostiles {
		w.arrived(o.history, last)
		run.shows(o.region, "Synced", "")
		o.neverBack(line...)
	}
	for _, h := range seen {
		h.neverBack(line...)
	}
}

// ails waits until /statusz shows that a remote is not well.
func (r *replica) ails(remote string) {
	r.w.Helper()
	r.w.until(soon, func(ctx context.Context) error {
		st, err := r.status(ctx)
		if err != nil {
			return err
		}
		if state := st.Remote(remote).State; state != "Unreachable" && state != "Failed" {
			return fmt.Errorf("%s is %s", remote, state)
		}
		return nil
	})
}

// drip is an answer that begins well and goes on with a byte a second.
func drip(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	text := strings.NewReader(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"` + testenv.SecretName + `"}}`)
	for {
		if _, err := io.CopyN(w, text, 1); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// endless is an answer that begins well and never ends.
func endless(contentType string, begin, goOn []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for more := begin; ; more = goOn {
			if _, err := w.Write(more); err != nil {
				return // the other side has had enough
			}
		}
	}
}

// onWatch answers a WATCH so; all else it does not answer at all.
func onWatch(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("watch") {
			answer(w, r)
			return
		}
		<-r.Context().Done()
	}
}

// noWatch answers so, but a WATCH in a way that has the client try a LIST.
func noWatch(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("watch") {
			status(w, http.StatusUnprocessableEntity, metav1.Status{Reason: metav1.StatusReasonInvalid, Message: "no streaming lists"})
			return
		}
		answer(w, r)
	}
}

// redirect sends every request to the same path elsewhere, with its body.
func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to+r.URL.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// trap is where redirects lead: it takes whatever it is sent. A client that
// trusts the cluster trusts it as well.
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
	w.must(err)
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

// empty fails the test where anything went to the trap, and says what of it
// must not have.
func (t *trap) empty(tokens ...string) {
	t.w.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.w.noLeaks(t.taken...)
	for _, text := range t.taken {
		head, _, _ := strings.Cut(text, "\n")
		t.w.Errorf("a redirect was followed: %s", head)
		if slices.ContainsFunc(tokens, func(token string) bool { return strings.Contains(text, token) }) {
			t.w.Errorf("the token went along with it")
		}
	}
}

// token is the one in a remote's kubeconfig.
func (w *world) token(remote string) string {
	w.Helper()
	file, err := clientcmd.LoadFromFile(filepath.Join(w.Clusters, remote+".yaml"))
	w.must(err)
	return file.AuthInfos[file.Contexts[file.CurrentContext].AuthInfo].Token
}
