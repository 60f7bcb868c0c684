package watcher

import (
	"context"
	"errors"
	"sync/atomic"
)

// coalesced lets callers share a request, but none that began before their
// call: while one is sent, any number of callers need one more.
type coalesced[T any] struct {
	turn  chan struct{} // whoever has it sends the request, and may use last
	begun atomic.Uint64
	last  result[T]
}

type result[T any] struct {
	number uint64
	value  T
	err    error
}

func newCoalesced[T any]() *coalesced[T] { return &coalesced[T]{turn: make(chan struct{}, 1)} }

// do returns the result of a request that began after the call did. Where ctx
// is done first it returns ctx's error.
func (c *coalesced[T]) do(ctx context.Context, request func(context.Context) (T, error)) (T, error) {
	arrived := c.begun.Load()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	if c.last.number > arrived && !errors.Is(c.last.err, context.Canceled) {
		return c.last.value, c.last.err
	}
	number := c.begun.Add(1)
	value, err := request(ctx)
	c.last = result[T]{number, value, err}
	return value, err
}
