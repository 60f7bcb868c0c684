package node

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layered returns the base image plus a layer with the given files. The map's keys are their paths.
func layered(base v1.Image, files map[string][]byte, mode int64) (v1.Image, error) {
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for path, data := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path, "/"), Mode: mode, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(base, layer)
}

// static returns an image with one statically linked program.
func static(binary []byte, path string) (v1.Image, error) {
	image, err := layered(empty.Image, map[string][]byte{path: binary}, 0o755)
	if err != nil {
		return nil, fmt.Errorf("creating the image of %s: %w", path, err)
	}
	return configured(image, v1.Config{Entrypoint: []string{path}})
}

func configured(image v1.Image, config v1.Config) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", config
	return mutate.ConfigFile(image, file)
}

// bootstrap lists the arguments of mmdebstrap that install Debian with Keystone. Their hash is part
// of the cached image's name.
var bootstrap = []string{
	"--mode=root", "--variant=apt", "--include=keystone,python3,uwsgi-plugin-python3",
	"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
	"bookworm",
}

// Keystone returns an image with Debian's Keystone. The first call builds and caches it, which
// takes a few minutes. It writes progress to w.
func Keystone(ctx context.Context, w io.Writer) (v1.Image, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the cache: %w", err)
	}
	sum := sha256.Sum256([]byte(strings.Join(bootstrap, " ")))
	path := filepath.Join(cache, "fernetcast", "keystone-"+hex.EncodeToString(sum[:])[:12]+".tar")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		began := time.Now()
		fmt.Fprintln(w, "Building an image with Debian's Keystone, which takes a few minutes the first time.")
		if err := makeKeystone(ctx, path); err != nil {
			return nil, fmt.Errorf("creating an image with Keystone: %w", err)
		}
		fmt.Fprintf(w, "Built it in %.0f s: %s\n", time.Since(began).Seconds(), path)
	}
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return nil, fmt.Errorf("reading %s (delete it to rebuild it): %w", path, err)
	}
	return image, nil
}

func makeKeystone(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	half, err := os.MkdirTemp(filepath.Dir(path), ".half-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(half)
	root, whole := filepath.Join(half, "root.tar"), filepath.Join(half, "image.tar")
	args := append(append([]string{}, bootstrap...), root)
	if out, err := exec.CommandContext(ctx, "mmdebstrap", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mmdebstrap %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	layer, err := tarball.LayerFromFile(root)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	if image, err = configured(image, v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}); err != nil {
		return err
	}
	tag, err := name.NewTag("localhost/keystone:1")
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(whole, tag, image); err != nil {
		return err
	}
	return os.Rename(whole, path)
}
