package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// write writes the image to the directory out, both as an OCI layout and as an archive of that
// layout, and returns their paths. It replaces an older layout and archive only after both new ones
// are complete.
func write(index v1.ImageIndex, out, version string) (folder, archive string, err error) {
	folder, archive = filepath.Join(out, "image"), filepath.Join(out, "fernetcast-"+version+".oci.tar")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", "", fmt.Errorf("writing the image: %w", err)
	}
	half, err := os.MkdirTemp(out, ".half-")
	if err != nil {
		return "", "", fmt.Errorf("writing the image: %w", err)
	}
	defer os.RemoveAll(half)
	newFolder, newArchive := filepath.Join(half, "image"), filepath.Join(half, "archive")
	path, err := layout.Write(newFolder, empty.Index)
	if err == nil {
		// containerd, skopeo, and other programs use these names to find the image in the archive.
		err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
			"org.opencontainers.image.ref.name": version, "io.containerd.image.name": "ghcr.io/fernetcast/fernetcast:" + version,
		}))
	}
	if err == nil {
		err = pack(newFolder, newArchive)
	}
	if err == nil {
		err = errors.Join(os.RemoveAll(folder), os.Rename(newFolder, folder), os.Rename(newArchive, archive))
	}
	if err != nil {
		return "", "", fmt.Errorf("writing the image: %w", err)
	}
	return folder, archive, nil
}

// pack writes an archive of a directory. It sorts the files and omits owners and times, so that the
// same files always produce the same bytes.
func pack(dir, archive string) error {
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: filepath.ToSlash(name) + "/", Mode: 0o755})
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Mode: 0o644, Size: info.Size()}); err != nil {
			return err
		}
		_, err = io.Copy(w, in)
		return err
	})
	return errors.Join(err, w.Close(), f.Close())
}
