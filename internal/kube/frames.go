package kube

import (
	"context"
	"encoding/binary"
	"io"

	"golang.org/x/time/rate"
)

const (
	// watchBytes is the burst that a watch can send, in bytes, and also the source's rate per
	// second. A remote's rate is remoteWatchBytes. Excess events wait in the server's socket.
	watchBytes       = 1 << 20
	remoteWatchBytes = 128 << 10
	// eventCost is the minimum size that counts for an event, in bytes, because decoding even a
	// small event has a cost.
	eventCost = 4 << 10
	// lengthBytes is the length prefix of each event (apimachinery's length-delimited framer).
	lengthBytes = 4
)

// A frameReader is a watch's response body. It returns only checked events.
type frameReader struct {
	io.ReadCloser
	ctx     context.Context
	want    expected
	limiter *rate.Limiter
	ready   []byte // the unread rest of the last checked event
	err     error
}

func newFrameReader(ctx context.Context, body io.ReadCloser, remote bool) *frameReader {
	f := &frameReader{ReadCloser: body, ctx: ctx, want: expectedBy(ctx), limiter: rate.NewLimiter(watchBytes, watchBytes)}
	if remote {
		f.limiter.SetLimit(remoteWatchBytes)
	}
	return f
}

// Read implements [io.Reader].
func (f *frameReader) Read(p []byte) (int, error) {
	if len(f.ready) == 0 && f.err == nil {
		f.err = f.next()
	}
	if f.err != nil {
		return 0, f.err
	}
	n := copy(p, f.ready)
	if f.ready = f.ready[n:]; len(f.ready) == 0 {
		f.ready = nil // free the memory, because the next event may be far off
	}
	return n, nil
}

// next reads and checks the next event.
func (f *frameReader) next() error {
	var length [lengthBytes]byte
	if _, err := io.ReadFull(f.ReadCloser, length[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(length[:]))
	if size > maxAnswer {
		return errTooLarge
	}
	for cost := max(size, eventCost); cost > 0; cost -= watchBytes {
		if err := f.limiter.WaitN(f.ctx, min(cost, watchBytes)); err != nil {
			return err
		}
	}
	event := append(length[:], make([]byte, size)...)
	if _, err := io.ReadFull(f.ReadCloser, event[lengthBytes:]); err != nil {
		return err
	}
	f.ready = event
	return f.want.checkEvent(event[lengthBytes:])
}
