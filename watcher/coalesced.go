package watcher

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// coalesced lets callers share a GET, but none that began before their call: while one
// is sent, any number of callers need one more.
type coalesced struct {
	turn  chan struct{} // whoever has it sends the request, and may use the fields after begun
	begun atomic.Uint64 // the number of the newest request

	number uint64 // of the last request, which ended with source and err
	source mirror.Source
	err    error
}

// do returns the result of a request that began after the call did. If ctx is done
// first, it returns ctx's error.
func (c *coalesced) do(ctx context.Context, request func(context.Context) (mirror.Source, error)) (mirror.Source, error) {
	arrived := c.begun.Load()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return mirror.Source{}, ctx.Err()
	}
	if c.number <= arrived || errors.Is(c.err, context.Canceled) {
		number := c.begun.Add(1)
		c.source, c.err = request(ctx)
		c.number = number
	}
	return c.source, c.err
}
