package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Snapshot is an etcd's data as it was at one moment.
type Snapshot struct{ dir string }

// Snapshot copies the data of an etcd that it kills for that and starts again:
// its API servers see an outage of a moment.
func (e *Etcd) Snapshot(ctx context.Context) (Snapshot, error) {
	dir, err := os.MkdirTemp(filepath.Dir(e.data), "snapshot-")
	if err != nil {
		return Snapshot{}, fmt.Errorf("making a snapshot of etcd: %w", err)
	}
	e.Kill()
	s := Snapshot{filepath.Join(dir, "data")}
	if err := os.CopyFS(s.dir, os.DirFS(e.data)); err != nil {
		return Snapshot{}, fmt.Errorf("making a snapshot of etcd: %w", err)
	}
	return s, e.Restart(ctx)
}

// Restore puts a snapshot in the place of the data, as often as wanted, and
// starts etcd. Its revisions go on from those of the snapshot, and so come
// twice. An API server in front of it must be restarted: its caches and
// watches are of a future that never was, as is a History from before.
func (e *Etcd) Restore(ctx context.Context, s Snapshot) error {
	e.Kill()
	err := os.RemoveAll(e.data)
	if err == nil {
		err = os.CopyFS(e.data, os.DirFS(s.dir))
	}
	if err != nil {
		return fmt.Errorf("restoring etcd: %w", err)
	}
	return e.Restart(ctx)
}

// Compact moves the revision on, and has etcd forget everything before it:
// who was away meanwhile cannot go on from where it was.
func (e *Etcd) Compact(ctx context.Context) error {
	var answer struct {
		Header etcdHeader `json:"header"`
	}
	body, err := e.post(ctx, "/v3/kv/put", map[string]any{"key": []byte("/nobody"), "value": []byte{}})
	if err != nil {
		return err
	}
	if err := errors.Join(json.NewDecoder(body).Decode(&answer), body.Close()); err != nil {
		return fmt.Errorf("moving etcd's revision on: %w", err)
	}
	body, err = e.post(ctx, "/v3/kv/compaction", map[string]any{"revision": answer.Header.Revision, "physical": true})
	if err != nil {
		return err
	}
	return body.Close()
}
