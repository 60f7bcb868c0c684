package keystone

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// writeKeys writes a file for each key and keeps all other files.
func writeKeys(dir string, keys testenv.Repository) error {
	for name, key := range keys {
		if err := os.WriteFile(filepath.Join(dir, name), key, 0o600); err != nil {
			return fmt.Errorf("writing a key repository: %w", err)
		}
	}
	return nil
}

// readKeys reads the files whose names start with a digit, as openstack-helm's job does.
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
