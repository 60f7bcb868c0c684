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
	lost           atomic.Bool // bytes were dropped, so nothing after them counts
	once           sync.Once
	ended          chan struct{}
}

// close cuts both sides, from any goroutine.
func (l *link) close() {
	l.once.Do(func() {
		close(l.ended)
		// A socket that cannot be closed is closed already.
		_ = l.client.Close()
		if l.server != nil {
			_ = l.server.Close()
		}
	})
}

// queued is how many pieces may be on their way at once, each way.
const queued = 64

// piece is what one read brought: data, or the end of the side that it was
// read from.
type piece struct {
	data []byte
	came time.Time
	end  bool
}

// carry moves bytes one way until the connection ends. The end of one side
// reaches the other only where bytes would. Reading goes on while a piece waits
// out the delay: a delay is no limit of what passes in a second.
func (l *link) carry(to, from net.Conn) {
	pieces := make(chan piece, queued)
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

// read ends with the side that it reads, or with the link.
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

// settle waits as long as the fault has bytes wait that came at a given moment,
// and tells whether they may go on.
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
