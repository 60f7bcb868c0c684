package testenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mountEvery is the interval at which Mount reads the Secret. A real kubelet can take more than a
// minute.
const mountEvery = 100 * time.Millisecond

// Mount keeps dir in sync with the named Secret, like a kubelet, until the test ends. As with an
// optional volume, dir has no files if the Secret doesn't exist.
func (c *Cluster) Mount(t testing.TB, namespace, name, dir string, mode os.FileMode) {
	t.Helper()
	Must(t, os.MkdirAll(dir, 0o755))
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	t.Cleanup(func() { stop(); ended.Wait() })
	ended.Go(func() {
		var mounted Repository
		tick := time.NewTicker(mountEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			secret, err := c.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				secret, err = &corev1.Secret{}, nil
			}
			if err == nil && !mounted.Equal(secret.Data) { // after other errors, keep the files
				if err := WriteVolume(dir, secret.Data, mode); err != nil {
					t.Errorf("mounting Secret %s: %v", name, err)
				}
				mounted = secret.Data
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
}

// These are the names in a mounted volume that are not data keys of the Secret.
const (
	current = "..data"
	next    = "..data_tmp"
)

// WriteVolume writes files into a directory as a kubelet does: it writes a new folder, switches one
// symbolic link to that folder, and then adds a link for each new file and removes the links of
// deleted files.
func WriteVolume(dir string, files map[string][]byte, mode os.FileMode) error {
	folder, err := os.MkdirTemp(dir, "..volume-")
	if err != nil {
		return fmt.Errorf("writing a volume: %w", err)
	}
	err = os.Chmod(folder, 0o755)
	for name, data := range files {
		path := filepath.Join(folder, name)
		err = errors.Join(err, os.WriteFile(path, data, mode), os.Chmod(path, mode))
	}
	if err != nil {
		return fmt.Errorf("writing a volume: %w", err)
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
	if err := linkFiles(dir, files); err != nil {
		return fmt.Errorf("writing a volume: %w", err)
	}
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, before))
}

// linkFiles makes the links in dir match files.
func linkFiles(dir string, files map[string][]byte) error {
	for name := range files {
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
		if _, wanted := files[entry.Name()]; wanted || strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
