package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const home = "https://github.com/fernetcast/fernetcast"

// A platform is a pair of values for GOOS and GOARCH.
type platform struct{ system, architecture string }

func (p platform) String() string { return p.system + "/" + p.architecture }

// platforms lists the platforms that a release supports, in the order of the krew manifest.
var platforms = []platform{{"darwin", "amd64"}, {"darwin", "arm64"}, {"linux", "amd64"}, {"linux", "arm64"}}

// A file is a file in an archive.
type file struct {
	name string
	mode int64
	data []byte
}

// pack returns an archive of files. It omits owners and times, so that the same files always
// produce the same bytes. The archive contains no links, because krew rejects them.
func pack(files []file) ([]byte, error) {
	var text bytes.Buffer
	compress := gzip.NewWriter(&text)
	w := tar.NewWriter(compress)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := errors.Join(w.Close(), compress.Close())
	return text.Bytes(), err
}

// krew returns the manifest for `kubectl krew install`
// (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/).
func (r release) krew(archives map[platform][sha256.Size]byte) ([]byte, error) {
	var all []map[string]any
	for _, p := range platforms {
		all = append(all, map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"os": p.system, "arch": p.architecture}},
			"uri":      fmt.Sprintf("%s/releases/download/%s/%s.tar.gz", home, r.version, r.name(p)),
			"sha256":   fmt.Sprintf("%x", archives[p]),
			"bin":      "fernetcast",
			"files":    []map[string]any{{"from": "fernetcast", "to": "."}, {"from": "LICENSE", "to": "."}},
		})
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "krew.googlecontainertools.github.com/v1alpha2", "kind": "Plugin",
		"metadata": map[string]any{"name": "fernetcast"},
		"spec": map[string]any{
			"version": r.version, "homepage": home,
			"shortDescription": "Keep Keystone's Fernet keys the same in every region",
			"description":      "Adds regions, shows and checks them, and promotes the main region. fernetcast keeps\nthe Secret with Keystone's Fernet keys the same in every cluster.\n",
			"platforms":        all,
		},
	})
}

// notesOf returns the text of a version's section in CHANGELOG.md.
func notesOf(source, version string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(source, "CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	head := "## [" + strings.TrimPrefix(version, "v") + "]"
	_, part, found := strings.Cut(string(text), "\n"+head)
	if !found {
		return nil, fmt.Errorf("CHANGELOG.md has no entry for %s: rename [Unreleased] to %s - DATE", version, head)
	}
	_, part, _ = strings.Cut(part, "\n") // skip the date
	part, _, _ = strings.Cut(part, "\n## [")
	if part = strings.TrimSpace(part); part == "" {
		return nil, fmt.Errorf("the entry for %s in CHANGELOG.md is empty", version)
	}
	return []byte(part + "\n"), nil
}
