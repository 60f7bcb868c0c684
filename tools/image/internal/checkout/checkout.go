// Package checkout copies the repository for tests.
package checkout

import (
	"os"
	"path/filepath"
	"testing"
)

// Copy is the source in another folder, as .dockerignore lets it into a build, with more of
// the repository's files.
func Copy(t testing.TB, repository string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append([]string{"go.mod", "go.sum", "main.go", "Dockerfile"}, more...) {
		data, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"clusters", "internal", "manifests", "pusher", "watcher"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(repository, name))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
