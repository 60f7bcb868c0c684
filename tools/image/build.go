package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fernetcast/fernetcast/tools/image/recipe"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const home = "https://github.com/fernetcast/fernetcast"

// platforms lists the platforms that the image supports.
var platforms = []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}

// build builds the image for every platform and returns their index.
func build(ctx context.Context, source, version string) (v1.ImageIndex, error) {
	r, err := recipe.Read(source)
	if err != nil {
		return nil, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range platforms {
		fmt.Fprintf(os.Stderr, "Building for %s with %s.\n", platform, r.Toolchain)
		binary, err := r.Compile(ctx, source, version, platform.OS, platform.Architecture)
		if err != nil {
			return nil, err
		}
		made, err := image(r, binary, version, platform)
		if err != nil {
			return nil, fmt.Errorf("building the image for %s: %w", platform, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: made, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	return index, nil
}

// image returns an image of the program, with the files and settings of the Dockerfile's last
// stage.
func image(r recipe.Recipe, binary []byte, version string, platform v1.Platform) (v1.Image, error) {
	files, err := filesystem(binary)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = platform.OS, platform.Architecture, v1.Time{Time: time.Unix(0, 0).UTC()}
	config.Config = v1.Config{
		User: r.User, Entrypoint: r.Entrypoint, Cmd: r.Cmd,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Labels: map[string]string{
			"org.opencontainers.image.title": "fernetcast", "org.opencontainers.image.version": version,
			"org.opencontainers.image.source": home, "org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}

// filesystem returns a tar archive of all files in the image.
func filesystem(binary []byte) ([]byte, error) {
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	for _, dir := range []string{"etc/", "etc/ssl/", "etc/ssl/certs/", "usr/", "usr/local/", "usr/local/bin/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	for _, file := range []struct {
		path string
		mode int64
		data []byte
	}{{"etc/ssl/certs/ca-certificates.crt", 0o644, roots()}, {"usr/local/bin/fernetcast", 0o755, binary}} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file.path, Mode: file.mode, Size: int64(len(file.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(file.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return text.Bytes(), err
}

// roots returns the CA certificates that Mozilla trusts, in PEM format. It omits those that are
// trusted only for certain names or until a certain date, because PEM cannot express such limits.
func roots() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return text.Bytes()
}
