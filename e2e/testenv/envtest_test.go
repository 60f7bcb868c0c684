package testenv

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// archiveOf returns a tar.gz archive with the given files, by name.
func archiveOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	plain := gzip.NewWriter(&packed)
	out := tar.NewWriter(plain)
	for name, text := range files {
		Must(t, out.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}))
		if _, err := out.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	Must(t, out.Close())
	Must(t, plain.Close())
	return packed.Bytes()
}

func sumOf(data []byte) string {
	sum := sha512.Sum512(data)
	return hex.EncodeToString(sum[:])
}

// download unpacks a complete release. If the release is unusable, the error gives the reason, and
// no files are left.
func TestDownload(t *testing.T) {
	t.Parallel()
	const prefix = "controller-tools/envtest/"
	good := archiveOf(t, map[string]string{prefix + "kube-apiserver": "an API server", prefix + "etcd": "an etcd", prefix + "kubectl": "no server"})
	half := archiveOf(t, map[string]string{prefix + "etcd": "an etcd"})
	serve := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		url     string // overrides the test server's URL
		sum     string
		says    string
	}{
		"good": {handler: serve(good), sum: sumOf(good)},
		"redirected": {handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/moved" {
				http.Redirect(w, r, "/moved", http.StatusFound)
				return
			}
			serve(good)(w, r)
		}, sum: sumOf(good)},
		"no answer": {handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, sum: sumOf(good), says: "no answer within 200ms"},
		"stalled": {handler: func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(good[:10])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, sum: sumOf(good), says: "no more data for 300ms"},
		"cut off": {handler: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(good)
		}, sum: sumOf(good), says: "EOF"},
		"refused":      {url: "http://" + closedPort(t), sum: sumOf(good), says: "connection refused"},
		"no such host": {url: "http://envtest.invalid/", sum: sumOf(good), says: "lookup envtest.invalid"},
		"not found":    {handler: http.NotFound, sum: sumOf(good), says: "404 Not Found"},
		"wrong hash":   {handler: serve(half), sum: sumOf(good), says: "its SHA-512 is"},
		"no archive":   {handler: serve([]byte("<html>")), sum: sumOf([]byte("<html>")), says: "the archive is broken"},
		"truncated":    {handler: serve(good[:40]), sum: sumOf(good[:40]), says: "the archive is broken"},
		"incomplete":   {handler: serve(half), sum: sumOf(half), says: "it lacks kube-apiserver"},
		"no platform":  {handler: serve(good), says: "there is no archive for"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := c.url
			if c.handler != nil {
				server := httptest.NewServer(c.handler)
				t.Cleanup(server.Close)
				url = server.URL
			}
			cache := t.TempDir()
			dir := filepath.Join(cache, "envtest")
			var said strings.Builder
			err := release{url: url, sum: c.sum, answer: 200 * time.Millisecond, stall: 300 * time.Millisecond}.download(t.Context(), dir, &said)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v, want %q", err, c.says)
				}
			} else {
				text, read := os.ReadFile(filepath.Join(dir, "kube-apiserver"))
				info, stat := os.Stat(filepath.Join(dir, "etcd"))
				if err != nil || read != nil || stat != nil || string(text) != "an API server" || info.Mode()&0o111 == 0 {
					t.Errorf("%v, %v, %v: %q", err, read, stat, text)
				}
				if !strings.Contains(said.String(), "downloading kube-apiserver and etcd") {
					t.Errorf("the progress is %q", said.String())
				}
			}
			left, err := os.ReadDir(cache)
			if want := map[bool]int{true: 1}[c.says == ""]; err != nil || len(left) != want {
				t.Errorf("%d entries are left, want %d: %v", len(left), want, err)
			}
		})
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Must(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// Programs in KUBEBUILDER_ASSETS take precedence over our own builds, and our own builds take
// precedence over the release, which is downloaded only once.
func TestFindPrograms(t *testing.T) {
	good := archiveOf(t, map[string]string{"kube-apiserver": "released", "etcd": "released"})
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(good)
	}))
	t.Cleanup(server.Close)
	defer func(was release) { releasedServers = was }(releasedServers)
	releasedServers = release{url: server.URL, sum: sumOf(good), answer: 10 * time.Second, stall: 10 * time.Second}
	t.Setenv("KUBEBUILDER_ASSETS", "")
	t.Setenv("ENVTEST", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	module, err := moduleDir(t.Context())
	Must(t, err)
	find := func(want string) {
		t.Helper()
		paths, err := findPrograms(t.Context(), module, &strings.Builder{}, servers...)
		Must(t, err)
		for _, name := range servers {
			if text, err := os.ReadFile(paths[name]); err != nil || string(text) != want {
				t.Errorf("%s is %q, want %q: %v", name, text, want, err)
			}
		}
	}
	put := func(dir, text string) {
		t.Helper()
		Must(t, os.MkdirAll(dir, 0o755))
		for _, name := range servers {
			Must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
		}
	}
	find("released")
	find("released")
	if n := asked.Load(); n != 1 {
		t.Errorf("the program was downloaded %d times", n)
	}
	key, err := controlplaneKey(module)
	Must(t, err)
	_, built, err := cacheDirs(key)
	Must(t, err)
	put(built, "built")
	find("built")
	given := t.TempDir()
	put(given, "given")
	t.Setenv("KUBEBUILDER_ASSETS", given)
	find("given")
}
