package watcher

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/fernetcast/fernetcast/internal/mirror"
)

// coalesced shares a GET among callers. A caller gets the result only of a GET that started after
// its call. So while one GET is running, all new callers together need only one more.
type coalesced struct {
	turn  chan struct{} // its holder sends the request, and may use number, source, and err
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
