package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Snapshot is a copy of an etcd's data.
type Snapshot struct{ dir string }

// Snapshot copies the data of etcd. It kills etcd first and restarts it afterward, so its API
// servers have a short outage.
func (e *Etcd) Snapshot(ctx context.Context) (Snapshot, error) {
	dir, err := os.MkdirTemp(filepath.Dir(e.data), "snapshot-")
	if err != nil {
		return Snapshot{}, fmt.Errorf("creating a snapshot of etcd: %w", err)
	}
	e.Kill()
	s := Snapshot{filepath.Join(dir, "data")}
	if err := os.CopyFS(s.dir, os.DirFS(e.data)); err != nil {
		return Snapshot{}, fmt.Errorf("creating a snapshot of etcd: %w", err)
	}
	return s, e.Restart(ctx)
}

// Restore replaces the data with a snapshot and restarts etcd. A snapshot can be restored
// repeatedly. Revisions continue from the snapshot, so some revisions occur twice. Restart the API
// servers afterward, because their caches and watches contain revisions that no longer exist. A
// History that started before the restore also contains such revisions.
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

// Compact increases etcd's revision and removes all earlier history, so that interrupted watches
// can't resume.
func (e *Etcd) Compact(ctx context.Context) error {
	var answer struct {
		Header etcdHeader `json:"header"`
	}
	body, err := e.post(ctx, "/v3/kv/put", map[string]any{"key": []byte("/nobody"), "value": []byte{}})
	if err != nil {
		return err
	}
	if err := errors.Join(json.NewDecoder(body).Decode(&answer), body.Close()); err != nil {
		return fmt.Errorf("advancing etcd's revision: %w", err)
	}
	body, err = e.post(ctx, "/v3/kv/compaction", map[string]any{"revision": answer.Header.Revision, "physical": true})
	if err != nil {
		return err
	}
	return body.Close()
}
