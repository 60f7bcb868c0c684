package watcher

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// coalesced shares a GET among callers, but only if it starts after their call. While one GET is
// running, any number of callers need only one more.
type coalesced struct {
	turn  chan struct{} // its holder sends the request, and may use the fields after begun
	begun atomic.Uint64 // number of the newest request

	number uint64 // of the last finished request, with the results source and err
	source mirror.Source
	err    error
}

// do returns the result of a request that started after the call. If ctx is done first, it returns
// ctx's error.
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
