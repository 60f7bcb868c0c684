package clusters

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

func TestMain(m *testing.M) {
	// The second of apimachinery's handlers sleeps by the wall clock, which in
	// a synctest bubble is years ahead.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	goleak.VerifyTestMain(m)
}

func TestFiles(t *testing.T) {
	files := Files(map[string][]byte{
		"dfw.yaml": []byte("1"), "iad.yml": []byte("2"), "ord.kubeconfig": []byte("3"), "sjc": []byte("4"),
		"..data": nil, ".hidden": nil, "Bad_Name.yaml": []byte("5"), "hkg.yaml": []byte("6"), "hkg.yml": []byte("7"),
	})
	var names []string
	refused := map[string]string{}
	for _, f := range files {
		names = append(names, f.Name)
		if f.Err != nil {
			refused[f.Name] = f.Err.Error()
		}
	}
	if want := []string{"Bad_Name", "dfw", "hkg", "iad", "ord", "sjc"}; !slices.Equal(names, want) {
		t.Errorf("names %v, want %v", names, want)
	}
	if len(refused) != 2 || !strings.Contains(refused["hkg"], "hkg.yaml and hkg.yml") || !strings.Contains(refused["Bad_Name"], "Bad_Name.yaml") {
		t.Errorf("refused: %v", refused)
	}
}

// A name that two files have costs no other remote anything, wherever the
// files stand in the order.
func TestFilesOfOneName(t *testing.T) {
	files := Files(map[string][]byte{"dfw": []byte("1"), "dfw-a.yaml": []byte("2"), "dfw.yaml": []byte("3")})
	if len(files) != 2 || files[0].Name != "dfw" || files[0].Err == nil || files[1].Name != "dfw-a" || files[1].Err != nil {
		t.Errorf("files: %+v", files)
	}
}

func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	if files, err := ReadDir(filepath.Join(dir, "absent")); err != nil || len(files) != 0 {
		t.Errorf("an absent directory: %v, %v", files, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "dfw.yaml"), []byte("x"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "large.yaml"), make([]byte, maxFile+1), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "..2026"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")))
	files, err := ReadDir(dir)
	must(t, err)
	got := map[string]bool{}
	for _, f := range files {
		got[f.Name] = f.Err == nil
	}
	if want := map[string]bool{"dfw": true, "large": false, "dangling": false}; len(got) != len(want) || got["dfw"] != want["dfw"] || got["large"] || got["dangling"] {
		t.Errorf("read %v, want %v", got, want)
	}
	if _, err := ReadDir(filepath.Join(dir, "dfw.yaml")); err == nil {
		t.Error("a file is taken for a directory")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// heard counts what a set tells.
type heard struct {
	mu      sync.Mutex
	changed map[string]int
}

func (h *heard) ClientChanged(remote string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed[remote]++
}
func (h *heard) RemoteChanged(string)             {}
func (h *heard) RemoteAnswered(string, time.Time) {}

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
	good, other := kubeconfigOf(t, "", "", nil), kubeconfigOf(t, "user", "token", "renewed")
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
	apply([]byte("{}"), true, true, 1) // nil before and after
	first := apply(good, false, false, 2)
	apply(good, false, true, 2)
	apply([]byte("{}"), true, true, 3) // the last good one stays
	apply([]byte("{}"), true, true, 3)
	apply(good, false, true, 4)
	if apply(other, false, false, 5) == first {
		t.Error("a renewed token makes no new client")
	}
	set.Apply([]File{{Name: "dfw", Err: errors.New("two files")}})
	if remote, err := set.Remote("dfw"); remote == nil || err == nil {
		t.Error("a file that cannot be read takes the last good client away, or is not reported")
	}
	set.Apply(nil)
	if remote, err := set.Remote("dfw"); remote != nil || err != nil || len(set.Names()) != 0 {
		t.Error("a removed remote is still there")
	}
}

// The directory is followed through what a mounted Secret does to it, and
// every follower ends: goleak looks at what is left.
func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not-there-yet")
	set, h := newSet()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); set.Run(ctx, dir, h) }()

	until := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
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
	version("..1", kubeconfigOf(t, "", "", nil))
	must(t, os.Symlink(filepath.Join("..data", "dfw.yaml"), filepath.Join(dir, "dfw.yaml")))
	until("the mounted remote is not followed", there("dfw", true))
	first, _ := set.Remote("dfw")

	version("..2", kubeconfigOf(t, "user", "token", "renewed"))
	until("the swapped link is not seen", func() bool { r, _ := set.Remote("dfw"); return r != first })

	must(t, os.WriteFile(filepath.Join(dir, "iad"), kubeconfigOf(t, "", "", nil), 0o600))
	until("an added remote is not followed", there("iad", true))
	must(t, os.Remove(filepath.Join(dir, "iad")))
	until("a removed remote is still followed", there("iad", false))

	path := filepath.Join(dir, "ord.yaml")
	must(t, os.Symlink(path, path)) // it cannot be read, for now
	until("a file that cannot be read is not reported", func() bool { _, err := set.Remote("ord"); return err != nil })
	must(t, os.Remove(path))
	must(t, os.WriteFile(path, kubeconfigOf(t, "", "", nil), 0o600))
	until("a file that can be read again is not", there("ord", true))

	must(t, os.RemoveAll(dir))
	until("with the directory gone a remote is still there", func() bool { return len(set.Names()) == 0 })
	cancel()
	<-ended
}
