package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/tools/image/recipe"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const repository = "../.."

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestLongImage pushes the image to a registry and pulls it again. The images for both platforms
// must match the Dockerfile, and the program must run. A second build must produce the same bytes.
func TestLongImage(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped in short mode; make test-all runs this test")
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://") + "/team/fernetcast"
	first, second := t.TempDir(), t.TempDir()
	if err := run(t.Context(), []string{"-source", repository, "-version", "v1.2.3", "-out", first, "-push", at}); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(at + ":v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	_, archive, err := write(index, second, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, filepath.Join(first, filepath.Base(archive))), read(t, archive)) {
		t.Error("a build in another directory produced different bytes")
	}
	pushed, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	path, err := layout.FromPath(filepath.Join(first, "image"))
	if err != nil {
		t.Fatal(err)
	}
	outer, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	kept, err := outer.IndexManifest()
	if err != nil || len(kept.Manifests) != 1 || kept.Manifests[0].Digest != pushed {
		t.Errorf("the layout has %+v, %v, but %s was pushed", kept, err, pushed)
	}
	for _, architecture := range []string{"amd64", "arm64"} {
		image, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: architecture}))
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, image, architecture)
	}
}

// The same program always produces the same image. TestLongRelease checks that the same source
// always produces the same program.
func TestImageIsReproducible(t *testing.T) {
	r, err := recipe.Read(repository)
	if err != nil {
		t.Fatal(err)
	}
	digests := map[v1.Hash]bool{}
	for range 2 {
		made, err := image(r, []byte("a program"), "v1.2.3", platforms[0])
		if err != nil {
			t.Fatal(err)
		}
		digest, err := made.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[digest] = true
	}
	if len(digests) != 1 {
		t.Errorf("the same program produced different images: %v", digests)
	}
}

func checkImage(t *testing.T, image v1.Image, architecture string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.Architecture != architecture || c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/usr/local/bin/fernetcast"}) || !slices.Equal(c.Cmd, []string{"run"}) {
		t.Errorf("the configuration for %s is %+v", architecture, c)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(mutate.Extract(image)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	if n := bytes.Count(files["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN CERTIFICATE")); n < 100 {
		t.Errorf("%d CAs", n)
	}
	binary := filepath.Join(t.TempDir(), "fernetcast")
	if err := os.WriteFile(binary, files["usr/local/bin/fernetcast"], 0o755); err != nil {
		t.Fatal(err)
	}
	if architecture == runtime.GOARCH && runtime.GOOS == "linux" {
		if out, err := exec.Command(binary, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "v1.2.3") {
			t.Errorf("version printed %q, %v", out, err)
		}
	}
}

// Invalid arguments are reported before anything is built or written.
func TestBadUse(t *testing.T) {
	out := filepath.Join(t.TempDir(), "dist")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-version", "v1/2"}, `VERSION="v1/2"`},
		{[]string{"-version", ""}, `VERSION=""`},
		{[]string{"-push", "registry.example.com/Fern et"}, "is not registry/name"},
		{[]string{"-push", "registry.example.com/x@sha256:00"}, "is not registry/name"},
		{[]string{"-source", t.TempDir()}, "reading the Dockerfile"},
		{[]string{"more"}, "only flags are allowed"},
	} {
		err := run(t.Context(), append([]string{"-out", out}, c.args...))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v", c.args, err)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}
}

// If a line that the build needs is missing from the Dockerfile, reading it is an error.
func TestRecipe(t *testing.T) {
	for _, gone := range []string{"golang:", "CGO_ENABLED=0", "USER ", "ENTRYPOINT ", "CMD "} {
		dir := t.TempDir()
		text := strings.ReplaceAll(string(read(t, repository+"/Dockerfile")), gone, "x")
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := recipe.Read(dir); err == nil {
			t.Errorf("no error for a Dockerfile without %q", gone)
		}
	}
}

// If the registry refuses the image, the error names the registry, and the built files remain.
func TestLongRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped in short mode; make test-all runs this test")
	}
	server := httptest.NewServer(nil)
	at := strings.TrimPrefix(server.URL, "http://")
	server.Close()
	out := t.TempDir()
	err := run(t.Context(), []string{"-source", repository, "-out", out, "-push", at + "/fernetcast"})
	if err == nil || !strings.Contains(err.Error(), "pushing to "+at+"/fernetcast:dev") {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(out, "fernetcast-dev.oci.tar")); err != nil {
		t.Error(err)
	}
}
