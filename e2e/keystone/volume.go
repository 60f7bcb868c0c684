package keystone

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// The names that a mounted Secret's own files have beside the keys.
const (
	current = "..data"
	next    = "..data_tmp"
)

// WriteVolume makes a directory hold the keys as a kubelet does: the files in a
// new folder, the link to it swapped at once, then a link for each new key, and
// those of keys that are gone taken away.
func WriteVolume(dir string, keys testenv.Repository) error {
	folder, err := os.MkdirTemp(dir, "..keys-")
	if err != nil {
		return fmt.Errorf("writing a volume: %w", err)
	}
	if err := writeKeys(folder, keys); err != nil {
		return err
	}
	before, err := os.Readlink(filepath.Join(dir, current))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing a volume: %w", err)
	}
	if err := os.Symlink(filepath.Base(folder), filepath.Join(dir, next)); err != nil {
		return fmt.Errorf("writing a volume: %w", err)
	}
	if err := os.Rename(filepath.Join(dir, next), filepath.Join(dir, current)); err != nil {
		return fmt.Errorf("writing a volume: %w", err)
	}
	if err := link(dir, keys); err != nil {
		return fmt.Errorf("writing a volume: %w", err)
	}
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, before))
}

// link makes the links by which the keys are read just those of keys.
func link(dir string, keys testenv.Repository) error {
	for name := range keys {
		err := os.Symlink(filepath.Join(current, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range there {
		if _, wanted := keys[entry.Name()]; wanted || entry.Name()[0] == '.' {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// writeKeys writes a file for each key, and leaves what else there is.
func writeKeys(dir string, keys testenv.Repository) error {
	for name, key := range keys {
		if err := os.WriteFile(filepath.Join(dir, name), key, 0o600); err != nil {
			return fmt.Errorf("writing a key repository: %w", err)
		}
	}
	return nil
}

// readKeys reads the files whose names are digits, as openstack-helm's job does.
func readKeys(dir string) (testenv.Repository, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	if err != nil {
		return nil, fmt.Errorf("reading a key repository: %w", err)
	}
	keys := testenv.Repository{}
	for _, path := range paths {
		key, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading a key repository: %w", err)
		}
		keys[filepath.Base(path)] = key
	}
	return keys, nil
}
