package repository

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/fernetcast/fernetcast/internal/keyset"
)

// readMount reads the key set from a Secret's volume. A kubelet swaps the link ..data
// from one directory to the next, so all is read from the one that it leads to: a
// swap meanwhile is an error, never a mixture.
func readMount(path string) (keyset.Set, error) {
	folder, err := filepath.EvalSymlinks(filepath.Join(path, "..data"))
	if err != nil { // a plain directory
		folder = path
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return keyset.Set{}, fmt.Errorf("reading the mounted Secret: %w", err)
	}
	data := map[string][]byte{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if data[e.Name()], err = readKey(filepath.Join(folder, e.Name())); err != nil {
			return keyset.Set{}, fmt.Errorf("reading the mounted Secret: %w", err)
		}
	}
	set, err := keyset.Parse(data)
	if err != nil {
		return set, fmt.Errorf("reading the mounted Secret: %w", err)
	}
	return set, nil
}

func readKey(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would be waited for
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no file", path))
	}
	return io.ReadAll(io.LimitReader(f, maxKey))
}
