package kube

import (
	"context"
	"encoding/binary"
	"io"

	"golang.org/x/time/rate"
)

const (
	// watchBytes is how many bytes are taken from a watch at once, and a second of
	// the source's; of a remote's it is remoteWatchBytes. A flood of events waits in
	// the server's own socket.
	watchBytes       = 1 << 20
	remoteWatchBytes = 128 << 10
	// eventCost is what an event counts at least, in bytes: what it costs to be
	// decoded does not depend on its size alone.
	eventCost = 4 << 10
	// lengthBytes begin each event (apimachinery's length-delimited framer).
	lengthBytes = 4
	// answerBurst is how many bytes of any other answer of a remote are taken at
	// once: a Secret holds no more. Then it is answerBytes a second.
	answerBurst = 1 << 20
	answerBytes = 256 << 10
	// readCost is what each read of them counts at least: a chunk of HTTP/1.1 can
	// have one byte.
	readCost = 4 << 10
)

// frames is the body of a watch. It hands on one event at a time, checked.
type frames struct {
	io.ReadCloser
	ctx     context.Context
	want    asked
	limiter *rate.Limiter
	ready   []byte // of the event that was checked, what was not read yet
	err     error
}

func newFrames(ctx context.Context, body io.ReadCloser, remote bool) *frames {
	f := &frames{ReadCloser: body, ctx: ctx, want: askedBy(ctx), limiter: rate.NewLimiter(watchBytes, watchBytes)}
	if remote {
		f.limiter.SetLimit(remoteWatchBytes)
	}
	return f
}

// Read implements [io.Reader].
func (f *frames) Read(p []byte) (int, error) {
	if len(f.ready) == 0 && f.err == nil {
		f.err = f.next()
	}
	if f.err != nil {
		return 0, f.err
	}
	n := copy(p, f.ready)
	f.ready = f.ready[n:]
	return n, nil
}

// next takes the next event.
func (f *frames) next() error {
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

// paced is a body that is taken at a bounded pace.
type paced struct {
	ctx context.Context
	io.Reader
	limiter *rate.Limiter
}

// Read implements [io.Reader].
func (p paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b[:min(len(b), answerBurst)])
	if err == nil && p.limiter.WaitN(p.ctx, max(n, readCost)) != nil {
		err = context.DeadlineExceeded
	}
	return n, err
}
