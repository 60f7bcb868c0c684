package clusters

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

// outcome returns the error text of each remote's file, or "" if there is none.
func outcome(t *testing.T, files []File) map[string]string {
	t.Helper()
	if !slices.IsSortedFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("not sorted: %+v", files)
	}
	all := map[string]string{}
	for _, f := range files {
		if _, twice := all[f.Name]; twice {
			t.Errorf("%s occurs twice", f.Name)
		}
		all[f.Name] = ""
		if f.Err != nil {
			all[f.Name] = f.Err.Error()
		}
		if strings.ContainsFunc(f.Name+all[f.Name], func(r rune) bool { return r < ' ' || r > '~' }) || len(f.Name) > 5*64 {
			t.Errorf("unprintable text: %q: %q", f.Name, all[f.Name])
		}
	}
	return all
}

// expect fails the test unless got has the remotes in want, each with an error that contains the
// text. The text "" means no error.
func expect(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if err, ok := got[name]; !ok || !strings.Contains(err, text) || (text == "") != (err == "") {
			t.Errorf("%s: %q, want %q", name, err, text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the remotes are %q", got)
	}
}

func TestFiles(t *testing.T) {
	const no = "cannot be a remote's name"
	long := strings.Repeat("long", 16)
	raw := map[string][]byte{}
	for _, name := range []string{
		"dfw.yaml", "iad.yml", "ord.kubeconfig", "sjc", "..data", ".hidden", "hkg.yaml", "hkg.yml", "a", "a-b.yaml", "a.yaml",
		"Bad_Name.yaml", "dfw.yaml.yaml", ".yaml", "-.yaml", "\x1b[2J.yaml", `\x1b[2J.yaml`, "\u202eyaml.wfd", "\xff.yaml", "d f w", `"dfw"`,
		long, long + "1.yaml", long + "2.yaml",
	} {
		raw[name] = []byte(name)
	}
	for range 10 { // the order of map iteration varies
		expect(t, outcome(t, Files(raw)), map[string]string{
			"dfw": "", "iad": "", "ord": "", "sjc": "", "a-b": "",
			"hkg":                             "two files have this name, hkg.yaml and hkg.yml",
			"a":                               "two files have this name, a and a.yaml",
			`"Bad_Name.yaml"`:                 `"Bad_Name.yaml" ` + no,
			`"dfw.yaml.yaml"`:                 no,
			`"-.yaml"`:                        no,
			`"\x1b[2J.yaml"`:                  `"\x1b[2J.yaml" ` + no,
			`"\\x1b[2J.yaml"`:                 no,
			`"\u202eyaml.wfd"`:                no,
			`"\xff.yaml"`:                     no,
			`"d f w"`:                         no,
			`"\"dfw\""`:                       no,
			`"` + long + `"`:                  no,
			keyset.QuoteName(long + "1.yaml"): no,
			keyset.QuoteName(long + "2.yaml"): no,
		})
	}
	for _, f := range Files(raw) {
		if name, _, _ := strings.Cut(string(f.Data), "."); f.Err == nil && name != f.Name {
			t.Errorf("%s has the data of %s", f.Name, f.Data)
		}
	}
}

// If the Secret contains many foreign data keys, only maxMisnamed of them count as remotes. If
// their names contain a Fernet key, the key isn't shown.
func TestManyMisnamed(t *testing.T) {
	const key = "h8Wb_qzT0-yVn3JcXk5RrPdLsA2mFgEu7oYiQ4wZ1C8="
	raw := map[string][]byte{"zz.yaml": nil}
	for n := range 20_000 {
		raw[fmt.Sprintf("%d_%s", n, key)] = []byte("x")
	}
	files := outcome(t, Files(raw))
	if _, there := files["zz"]; !there || len(files) != maxMisnamed+1 {
		t.Errorf("%d remotes, zz %v", len(files), there)
	}
	for name, err := range files {
		if text := name + err; keyset.Redact(text, map[string][]byte{"1": []byte(key)}) != text {
			t.Errorf("a part of the key is shown: %s", text)
		}
	}
}

func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	if files, err := Read(filepath.Join(dir, "absent"), ""); err != nil || len(files) != 0 {
		t.Errorf("an absent directory: %v, %v", files, err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(in("dfw.yaml"), []byte("x"), 0o600))
	must(t, os.WriteFile(in("full.yaml"), make([]byte, maxFile), 0o600))
	must(t, os.WriteFile(in("large.yaml"), make([]byte, maxFile+1), 0o600))
	must(t, os.WriteFile(in("empty.yaml"), nil, 0o600))
	must(t, os.WriteFile(in("twice.yaml"), nil, 0o600))
	must(t, os.WriteFile(in("..3"), nil, 0o600))
	for _, name := range []string{"..2026", ".git", "iad.yaml", "folder", "twice", "\x1b[2J.yaml"} {
		must(t, os.Mkdir(in(name), 0o700))
	}
	for name, to := range map[string]string{
		"link.yaml": "dfw.yaml", "dangling.yaml": "nowhere", "loop.yaml": "loop.yaml", "to-folder.yaml": "folder",
		"through.yaml": "dfw.yaml/x", "to-pipe.yaml": "pipe.yaml", "zero.yaml": "/dev/zero", "null.yaml": "/dev/null", "..data": "..2026",
	} {
		must(t, os.Symlink(to, in(name)))
	}
	must(t, syscall.Mkfifo(in("pipe.yaml"), 0o600))
	t.Chdir(dir) // a socket's path must be short
	socket, err := net.Listen("unix", "socket.yaml")
	must(t, err)
	defer socket.Close()
	want := map[string]string{
		"dfw": "", "link": "", "full": "", "empty": "", // Parse rejects an empty file
		"large": "large.yaml is larger than 512 KiB", "twice": "two files have this name, twice and twice.yaml",
		"iad": "iad.yaml is a directory, not a file", "folder": "folder is a directory", "to-folder": "to-folder.yaml is a directory",
		`"\x1b[2J.yaml"`: "cannot be a remote's name", "dangling": "dangling.yaml cannot be read: no such file",
		"loop": "loop.yaml cannot be read", "through": "through.yaml cannot be read", "pipe": "pipe.yaml is a pipe, a socket",
		"to-pipe": "is a pipe, a socket, or a device", "zero": "is a pipe, a socket, or a device", "null": "is a pipe, a socket, or a device", "socket": "socket.yaml is a pipe, a socket",
	}
	if os.Geteuid() != 0 {
		must(t, os.WriteFile(in("mine.yaml"), []byte("x"), 0))
		want["mine"] = "mine.yaml cannot be read: permission denied"
	}
	files, err := Read(dir, "")
	must(t, err)
	got := outcome(t, files)
	expect(t, got, want)
	for name, err := range got {
		if strings.Contains(err, dir) {
			t.Errorf("%s: the error contains a path on this machine: %s", name, err)
		}
	}
	if _, err := Read(in("dfw.yaml"), ""); err == nil {
		t.Error("a file was read as a directory")
	}
}

// While the directory cannot be read, the remotes stay unchanged, and this is logged once per
// outage.
func TestRunWithoutTheDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "clusters")
		good := func() {
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "dfw.yaml"), kubeconfigOf(t, "a-token"), 0o600))
		}
		good()
		var log bytes.Buffer
		set, h := newSet()
		set.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); set.Run(ctx, dir, "", h) }()
		look := func(times int) {
			time.Sleep(time.Duration(times) * lookEvery)
			synctest.Wait()
		}
		synctest.Wait()
		for round := 1; round <= 2; round++ {
			must(t, os.RemoveAll(dir))
			must(t, os.WriteFile(dir, nil, 0o600)) // a file in place of the directory
			look(3)
			if n := strings.Count(log.String(), "cannot read all kubeconfigs"); n != round {
				t.Errorf("logged %d times, want %d:\n%s", n, round, log.String())
			}
			must(t, os.Remove(dir))
			good()
			look(1)
		}
		if changed := h.count("dfw"); changed != 1 {
			t.Errorf("the remote changed %d times", changed)
		}
		cancel()
		<-ended
	})
}
