package kube

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// These constants limit the CPU time that all connections to a cluster cost together. The unit is
// time because HTTP/2 and TLS handle some input by themselves, such as settings, pings, and unknown
// frames. A megabyte of such input can cost a second of CPU time.
const (
	// remoteWork and homeWork are the limits per second for a remote and for the source. After a
	// pause, a cluster can cost as much as in workAtOnce seconds.
	remoteWork, homeWork = 30 * time.Millisecond, 300 * time.Millisecond
	workAtOnce           = 5
	// dialWork, readWork, and byteWork count for each connection, read, and byte. They cover the
	// work outside the reader, such as system calls and garbage collection.
	dialWork, readWork, byteWork = 10 * time.Millisecond, 30 * time.Microsecond, 36 * time.Nanosecond
	// mostWork is the most that one read counts, because the reader also waits for a CPU.
	mostWork = 50 * time.Millisecond
	// maxConns bounds the open connections to a cluster. HTTP/2 needs one, and HTTP/1.1 one for
	// each concurrent request.
	maxConns = 32
)

var errBusy = &Refusal{"the server keeps its connections too busy, so a new one must wait", true}

// A pace opens the connections to a cluster and limits their total cost. It is safe for concurrent
// use.
type pace struct {
	dialer net.Dialer
	work   *rate.Limiter // tokens are nanoseconds
	open   atomic.Int32  // the number of open connections
}

func newPace(work time.Duration) *pace {
	return &pace{
		dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive},
		work:   rate.NewLimiter(rate.Limit(work), workAtOnce*int(work)),
	}
}

// dial opens a connection. If earlier connections cost too much, it waits for up to dialTimeout.
func (p *pace) dial(ctx context.Context, network, address string) (net.Conn, error) {
	waiting, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if p.open.Load() >= maxConns || p.work.WaitN(waiting, int(dialWork)) != nil {
		return nil, errBusy
	}
	conn, err := p.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return p.wrap(conn), nil
}

// wrap returns a connection whose reads are delayed by the pace.
func (p *pace) wrap(conn net.Conn) *pacedConn {
	p.open.Add(1)
	c := &pacedConn{Conn: conn, pace: p, zero: time.Now().Add(-mostWork), done: make(chan struct{})}
	c.close = sync.OnceValue(func() error {
		p.open.Add(-1)
		close(c.done)
		c.charge()
		return conn.Close()
	})
	c.begin(0)
	return c
}

// A pacedConn measures the time from each read to the next. The reader spends most of this time on
// the bytes of the first read. The next read waits until the time is within the pace.
type pacedConn struct {
	net.Conn
	pace  *pace
	zero  time.Time
	began atomic.Int64 // when the last read ended, in nanoseconds since zero; 0 if it is charged
	close func() error
	done  chan struct{} // closed by Close
}

// Read implements [net.Conn].
func (c *pacedConn) Read(p []byte) (int, error) {
	if wait := c.charge(); wait > 0 {
		select {
		case <-time.After(wait):
		case <-c.done:
			return 0, net.ErrClosed
		}
	}
	n, err := c.Conn.Read(p)
	c.begin(readWork + time.Duration(n)*byteWork)
	return n, err
}

// begin starts the clock for a read that has already cost as much as before.
func (c *pacedConn) begin(before time.Duration) {
	c.began.Store(int64(time.Since(c.zero) - before))
}

// charge stops the clock for the last read, and returns the delay until the next read.
func (c *pacedConn) charge() time.Duration {
	began := c.began.Swap(0)
	if began == 0 {
		return 0
	}
	now := time.Now()
	work := int(min(now.Sub(c.zero)-time.Duration(began), mostWork))
	if c.pace.work.AllowN(now, work) { // the usual case, without an allocation
		return 0
	}
	return c.pace.work.ReserveN(now, work).DelayFrom(now)
}

// Close implements [net.Conn]. It ends a read that waits.
func (c *pacedConn) Close() error { return c.close() }
