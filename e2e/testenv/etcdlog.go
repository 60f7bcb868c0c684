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

// stored is one version of an object as etcd's JSON gateway shows it.
type stored struct {
	Value    []byte `json:"value"`
	Revision int64  `json:"mod_revision,string"`
}

type etcdHeader struct {
	Revision int64 `json:"revision,string"`
}

type etcdEvent struct {
	Type     string  `json:"type"` // left out for PUT
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

// scope is what of etcd is looked at: the object under key, or, with an end, all
// from key up to there.
type scope struct{ key, end string }

// errIncomplete is an error that trying again does not mend.
var errIncomplete = errors.New("the record is incomplete")

// read returns the objects in scope, and the revision of etcd that this is the
// state of.
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

// watch hands each version in scope from revision on to record, in order and
// without a gap, also across restarts of etcd. It returns when ctx ends, or
// with what makes going on impossible.
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
		return err // the connection's end: etcd may be restarting
	})
	return errors.Join(fatal, err)
}

// stream watches over one connection, until that breaks.
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

// post sends one request to etcd's JSON gateway. The caller closes the body.
func (e *Etcd) post(ctx context.Context, path string, question any) (io.ReadCloser, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("asking etcd: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking etcd: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking etcd: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("asking etcd: POST %s: %s", path, response.Status), response.Body.Close())
	}
	return response.Body, nil
}
