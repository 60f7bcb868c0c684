package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// stored is one version of an object in etcd's JSON gateway.
type stored struct {
	Value    []byte `json:"value"`
	Revision int64  `json:"mod_revision,string"`
}

type etcdHeader struct {
	Revision int64 `json:"revision,string"`
}

type etcdEvent struct {
	Type     string  `json:"type"` // omitted for PUT
	Object   stored  `json:"kv"`
	Previous *stored `json:"prev_kv"`
}

type etcdWatched struct {
	Result struct {
		Canceled bool        `json:"canceled"`
		Reason   string      `json:"cancel_reason"`
		Events   []etcdEvent `json:"events"`
	} `json:"result"`
}

// scope is a range of keys in etcd: only key or, if end is set, all keys in [key, end).
type scope struct{ key, end string }

// errIncomplete marks an error that a retry can't fix.
var errIncomplete = errors.New("the record is incomplete")

// read returns the objects in scope and the etcd revision at which they were read.
func (e *Etcd) read(ctx context.Context, in scope) ([]stored, int64, error) {
	var answer struct {
		Header  etcdHeader `json:"header"`
		Objects []stored   `json:"kvs"`
	}
	body, err := e.post(ctx, "/v3/kv/range", map[string]any{"key": []byte(in.key), "range_end": []byte(in.end)})
	if err != nil {
		return nil, 0, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return nil, 0, fmt.Errorf("reading %s in etcd: %w", in.key, err)
	}
	return answer.Objects, answer.Header.Revision, nil
}

// watch passes each version of each object in scope to record, starting with the given revision, in
// order and without gaps, even if etcd restarts. It returns when ctx ends or a gap is unavoidable.
func (e *Etcd) watch(ctx context.Context, in scope, revision int64, record func(stored, bool) error) error {
	next := revision
	var fatal error
	err := Until(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		err := e.stream(ctx, in, next, func(event etcdEvent) error {
			object, deleted := event.Object, event.Type == "DELETE"
			if deleted && event.Previous != nil {
				object.Value = event.Previous.Value
			}
			next = event.Object.Revision + 1
			return record(object, deleted)
		})
		if errors.Is(err, errIncomplete) {
			fatal = err
			return nil
		}
		return err // reconnect: etcd may be restarting
	})
	return errors.Join(fatal, err)
}

// stream watches the scope over one connection until that breaks.
func (e *Etcd) stream(ctx context.Context, in scope, revision int64, each func(etcdEvent) error) error {
	body, err := e.post(ctx, "/v3/watch", map[string]any{"create_request": map[string]any{
		"key": []byte(in.key), "range_end": []byte(in.end), "start_revision": revision, "prev_kv": true,
	}})
	if err != nil {
		return err
	}
	defer body.Close()
	for decoder := json.NewDecoder(body); ; {
		var watched etcdWatched
		if err := decoder.Decode(&watched); err != nil {
			return fmt.Errorf("watching %s in etcd: %w", in.key, err)
		}
		if watched.Result.Canceled {
			return fmt.Errorf("%w: etcd ended the watch of %s at revision %d: %s", errIncomplete, in.key, revision, watched.Result.Reason)
		}
		for _, event := range watched.Result.Events {
			if err := each(event); err != nil {
				return fmt.Errorf("%w: %w", errIncomplete, err)
			}
		}
	}
}

// post sends a request to etcd's JSON gateway. The caller must close the body.
func (e *Etcd) post(ctx context.Context, path string, question any) (io.ReadCloser, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("querying etcd: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("querying etcd: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("querying etcd: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("querying etcd: POST %s: %s", path, response.Status), response.Body.Close())
	}
	return response.Body, nil
}
