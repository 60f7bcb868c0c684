package clusters

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"go.uber.org/goleak"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

func TestMain(m *testing.M) {
	// The second of apimachinery's error handlers sleeps until a wall-clock time, which is years
	// away in a synctest bubble.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	goleak.VerifyTestMain(m)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kubeconfigOf returns a kubeconfig with a token.
func kubeconfigOf(t testing.TB, token string) []byte {
	t.Helper()
	data, err := kubeconfig.Config{Remote: "dfw", Account: "u", Namespace: "identity", Server: "https://127.0.0.1:1", Token: token}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// jwt returns a token with this payload and an invalid signature.
func jwt(payload string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2lnbmVk"
}

// heard counts a set's events.
type heard struct {
	mu      sync.Mutex
	changed map[string]int
}

func (h *heard) ClientChanged(remote string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed[remote]++
}
func (h *heard) RemoteChanged(string)  {}
func (h *heard) RemoteAnswered(string) {}

func (h *heard) count(remote string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed[remote]
}

func newSet() (*Set, *heard) {
	return NewSet(Options{
		Namespace: "openstack", Secret: "keystone-fernet-keys", Timeout: time.Second, UserAgent: "test", Log: slog.New(slog.DiscardHandler),
	}), &heard{changed: map[string]int{}}
}

func TestApply(t *testing.T) {
	good, other := kubeconfigOf(t, "a-token"), kubeconfigOf(t, "renewed")
	set, h := newSet()
	set.events = h
	apply := func(data []byte, wantErr, wantSame bool, wantChanged int) *Remote {
		t.Helper()
		before, _ := set.Remote("dfw")
		set.Apply([]File{{Name: "dfw", Data: data}})
		after, err := set.Remote("dfw")
		changed := h.count("dfw")
		if (err != nil) != wantErr || (before == after) != wantSame || changed != wantChanged {
			t.Errorf("error %v, same client %v, changed %d times; want %v, %v, %d", err, before == after, changed, wantErr, wantSame, wantChanged)
		}
		return after
	}
	apply([]byte("{}"), true, true, 1) // the remote is nil before and after
	first := apply(good, false, false, 2)
	apply(good, false, true, 2)
	apply([]byte("{}"), true, true, 3) // the last good client stays
	apply([]byte("{}"), true, true, 3)
	apply(good, false, true, 4)
	if apply(other, false, false, 5) == first {
		t.Error("a renewed token did not lead to a new client")
	}
	set.Apply([]File{{Name: "dfw", Err: errors.New("two files")}})
	if remote, err := set.Remote("dfw"); remote == nil || err == nil {
		t.Error("an unreadable file removed the last good client, or was not reported")
	}
	set.Apply(nil)
	if remote, err := set.Remote("dfw"); remote != nil || err != nil || len(set.Names()) != 0 {
		t.Error("a removed remote still exists")
	}
}

// Run follows the updates of a mounted Secret, and all followers end (checked by goleak).
func TestRun(t *testing.T) { synctest.Test(t, testRun) }

func testRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not-there-yet")
	set, h := newSet()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); set.Run(ctx, dir, "", h) }()

	until := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	there := func(name string, want bool) func() bool {
		return func() bool { r, _ := set.Remote(name); return (r != nil) == want }
	}
	version := func(name string, data []byte) {
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name, "dfw.yaml"), data, 0o600))
		must(t, os.Symlink(name, filepath.Join(dir, "..new")))
		must(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
	}
	version("..1", kubeconfigOf(t, "a-token"))
	must(t, os.Symlink(filepath.Join("..data", "dfw.yaml"), filepath.Join(dir, "dfw.yaml")))
	until("the mounted remote is not followed", there("dfw", true))
	first, _ := set.Remote("dfw")

	version("..2", kubeconfigOf(t, "renewed"))
	until("the swapped link is not seen", func() bool { r, _ := set.Remote("dfw"); return r != first })

	must(t, os.WriteFile(filepath.Join(dir, "iad"), kubeconfigOf(t, "a-token"), 0o600))
	until("an added remote is not followed", there("iad", true))
	must(t, os.Remove(filepath.Join(dir, "iad")))
	until("a removed remote is still followed", there("iad", false))

	path := filepath.Join(dir, "ord.yaml")
	must(t, os.Symlink(path, path)) // temporarily unreadable
	until("a file that cannot be read is not reported", func() bool { _, err := set.Remote("ord"); return err != nil })
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, kubeconfigOf(t, "a-token"), 0o600))
	until("a file that can be read again is not", there("ord", true))

	must(t, os.RemoveAll(dir))
	until("with the directory gone a remote is still there", func() bool { return len(set.Names()) == 0 })
	cancel()
	<-ended
}

// A renewed token leads to a new client. If a file is rejected, the expiry of the current client
// remains.
func TestSetSaysWhenCredentialsExpire(t *testing.T) {
	set, _ := newSet()
	for _, c := range []struct {
		file []byte
		want int64
	}{
		{kubeconfigOf(t, jwt(`{"exp":1795000000}`)), 1795000000},
		{[]byte("{}"), 1795000000},
		{kubeconfigOf(t, jwt(`{"exp":1796000000}`)), 1796000000},
	} {
		set.Apply([]File{{Name: "dfw", Data: c.file}})
		statuses := []mirror.RemoteStatus{{Name: "dfw"}, {Name: "iad"}}
		set.Describe(statuses)
		if got := statuses[0].CredentialsExpire; got == nil || got.Unix() != c.want {
			t.Errorf("%s: dfw's credentials expire at %v, want %d", c.file, got, c.want)
		}
		if due := statuses[0].CredentialsDue; due == nil || due.Unix() != c.want-30*24*60*60 {
			t.Errorf("%s: dfw's credentials are due at %v", c.file, due)
		}
		if got := statuses[1].CredentialsExpire; got != nil {
			t.Errorf("iad's credentials expire at %v", got)
		}
	}
}
