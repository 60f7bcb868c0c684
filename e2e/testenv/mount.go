package testenv

import (
	"context"
	"errors"
	"fmt"
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

// mountEvery is how often a mounted Secret is read. A kubelet takes a minute and more.
const mountEvery = 100 * time.Millisecond

// Mount keeps the files of a directory as the named Secret is, until the test ends:
// an optional volume, of which each file changes at once.
func (c *Cluster) Mount(t testing.TB, namespace, name, dir string, mode os.FileMode) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	t.Cleanup(func() { stop(); ended.Wait() })
	ended.Go(func() {
		tick := time.NewTicker(mountEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			secret, err := c.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				secret, err = &corev1.Secret{}, nil
			}
			if err == nil { // else the files stay
				if err := project(secret.Data, dir, mode); err != nil {
					t.Errorf("mounting Secret %s: %v", name, err)
				}
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
}

// project makes the files of a directory those of a Secret.
func project(data map[string][]byte, dir string, mode os.FileMode) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the directory: %w", err)
	}
	for _, file := range there {
		if _, stays := data[file.Name()]; !stays && !strings.HasPrefix(file.Name(), ".half") {
			if err := os.Remove(filepath.Join(dir, file.Name())); err != nil {
				return fmt.Errorf("removing a file: %w", err)
			}
		}
	}
	for name, content := range data {
		half := filepath.Join(dir, ".half-"+name)
		if err := errors.Join(os.WriteFile(half, content, mode), os.Chmod(half, mode), os.Rename(half, filepath.Join(dir, name))); err != nil {
			return fmt.Errorf("writing a file: %w", err)
		}
	}
	return nil
}
