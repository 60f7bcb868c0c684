package ground

import (
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

// carry moves bytes one way until the connection ends. The end of one side
// reaches the other only where bytes would.
func (l *link) carry(to, from net.Conn) {
	data := make([]byte, 32<<10)
	for {
		n, err := from.Read(data)
		passes := l.settle()
		if err == nil && !passes {
			continue
		}
		if err == nil {
			_, err = to.Write(data[:n])
		}
		if err != nil {
			if passes {
				l.close()
			}
			return
		}
	}
}

// settle waits as long as the fault has bytes wait, and tells whether they may
// go on.
func (l *link) settle() bool {
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
			case <-time.After(delay):
			case <-l.ended:
			}
			return true
		default:
			return true
		}
	}
}
