package testenv

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// link is one connection through a Proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	lost           atomic.Bool // whether data was dropped, so that all later data must be dropped, too
	once           sync.Once
	ended          chan struct{}
}

// close closes both sides. It is safe for concurrent use.
func (l *link) close() {
	l.once.Do(func() {
		close(l.ended)
		// Close fails only if the socket is already closed.
		_ = l.client.Close()
		if l.server != nil {
			_ = l.server.Close()
		}
	})
}

// maxQueued limits the number of pieces in transit in each direction.
const maxQueued = 64

// piece is the result of one read from a connection: data, its end, or both.
type piece struct {
	data []byte
	came time.Time
	end  bool
}

// carry moves data in one direction until the connection ends. Faults and delays apply to the end
// of the connection as they do to data. A separate goroutine reads ahead, so that a delay doesn't
// limit the throughput.
func (l *link) carry(to, from net.Conn) {
	pieces := make(chan piece, maxQueued)
	go l.read(from, pieces)
	for p := range pieces {
		if !l.settle(p.came) {
			continue
		}
		if p.end {
			l.close()
			return
		}
		if _, err := to.Write(p.data); err != nil {
			l.close()
			return
		}
	}
}

// read sends the data of a connection to pieces until the connection or the link ends.
func (l *link) read(from net.Conn, pieces chan<- piece) {
	defer close(pieces)
	data := make([]byte, 32<<10)
	for {
		n, err := from.Read(data)
		p := piece{data: bytes.Clone(data[:n]), came: time.Now(), end: err != nil}
		select {
		case pieces <- p:
		case <-l.ended:
			return
		}
		if p.end {
			return
		}
	}
}

// settle blocks as long as the delay or the fault holds data that came at the given time. It
// reports whether to forward the data.
func (l *link) settle(came time.Time) bool {
	for {
		fault, delay, changed := l.proxy.state()
		if fault == Drop {
			l.lost.Store(true)
		}
		switch {
		case l.lost.Load():
			return false
		case fault == Hold:
			select {
			case <-changed:
			case <-l.ended:
				return false
			}
		case delay > 0:
			select {
			case <-time.After(time.Until(came.Add(delay))):
			case <-l.ended:
			}
			return true
		default:
			return true
		}
	}
}
