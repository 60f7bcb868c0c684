package telemetry

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

const (
	// turn is the minimum interval between two batches of accepted connections.
	turn = 5 * time.Millisecond
	// In each turn, at most turnAccepts connections are accepted (15 µs each), and at most
	// turnProbes probes are passed to the HTTP server (80 µs each).
	turnAccepts, turnProbes = 20, 2
	// maxWaiting limits the accepted connections that wait for the HTTP server.
	maxWaiting = 512
	// deferAccept is how long the kernel waits for a client's first bytes, in seconds.
	deferAccept = 1
)

// A door is a listener that lets probes overtake all other requests, because the kubelet restarts a
// container that doesn't answer them. It empties the kernel's queue quickly, closes connections
// whose client is gone, and prefers the clients that it has served least in the last second.
type door struct {
	net.Listener
	socket *os.File      // a duplicate of the listener's socket, to accept connections in batches
	slots  chan struct{} // its capacity limits the open connections, except those of probes
	pace   *rate.Limiter // limits the rate of connections, except those of probes

	// Used only by Accept.
	waiting []visitor // the best visitor comes first
	began   time.Time // when the current turn began
	probes  int       // how many more probes this turn can pass
	served  map[netip.Addr]int
	counted time.Time // when served was emptied
	head    [maxPeek]byte
}

// A visitor is an accepted connection that waits for the HTTP server.
type visitor struct {
	socket int
	client netip.Addr
	kind   visitorKind
	served int // connections of this client in the last second
}

// guard returns a listener that applies the limits.
func (l limits) guard(listener net.Listener) (net.Listener, error) {
	tcp := listener.(*net.TCPListener)
	socket, err := tcp.File()
	if err != nil {
		return nil, err
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	// Without this option, a client that opens and resets connections would cost 15 µs for each.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferAccept)
	})
	return &door{
		Listener: listener, socket: socket, slots: make(chan struct{}, l.conns),
		pace: rate.NewLimiter(l.rate, l.conns), served: map[netip.Addr]int{},
	}, nil
}

// Close implements [net.Listener].
func (d *door) Close() error { return errors.Join(d.Listener.Close(), d.socket.Close()) }

// Accept implements [net.Listener]. Only one goroutine can call it.
func (d *door) Accept() (net.Conn, error) {
	for {
		if conn := d.next(); conn != nil {
			return conn, nil
		}
		if err := d.admit(); err != nil {
			d.drop(0)
			return nil, err
		}
	}
}

// next returns the connection of the best visitor that can be served now, or nil.
func (d *door) next() net.Conn {
	first := 0
	if d.probes == 0 {
		first = slices.IndexFunc(d.waiting, func(v visitor) bool { return v.kind != probeVisitor })
	}
	if first < 0 || first == len(d.waiting) {
		return nil
	}
	v, release := d.waiting[first], func() {}
	if v.kind == probeVisitor {
		d.probes--
	} else {
		select {
		case d.slots <- struct{}{}:
			release = func() { <-d.slots }
		default:
			return nil
		}
		if !d.pace.Allow() {
			release()
			return nil
		}
	}
	d.waiting = slices.Delete(d.waiting, first, first+1)
	d.served[v.client]++
	file := os.NewFile(uintptr(v.socket), "")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		release()
		return nil
	}
	return &visit{conn.(*net.TCPConn), sync.OnceFunc(release)}
}

// A visit is a connection that the HTTP server serves.
type visit struct {
	*net.TCPConn
	release func()
}

// Close implements [net.Conn].
func (v *visit) Close() error {
	defer v.release()
	return v.TCPConn.Close()
}

// admit begins a new turn: it accepts connections and sorts those that wait. If none wait, it blocks
// until there is a connection.
func (d *door) admit() error {
	time.Sleep(turn - time.Since(d.began))
	d.began, d.probes = time.Now(), turnProbes
	n, failed := 0, false
	raw, err := d.socket.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Read(func(fd uintptr) bool {
		for n < turnAccepts {
			socket, from, err := unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				failed = !errors.Is(err, unix.EAGAIN)
				break
			}
			d.welcome(socket, from)
			n++
		}
		return n+len(d.waiting) > 0 || failed
	})
	if d.began.Sub(d.counted) > time.Second {
		clear(d.served)
		d.counted = d.began
	}
	for i, v := range d.waiting {
		d.waiting[i].served = d.served[v.client]
	}
	slices.SortStableFunc(d.waiting, func(a, b visitor) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.served, b.served))
	})
	d.drop(maxWaiting)
	return err
}

// welcome adds an accepted connection to those that wait, unless its client has closed it.
func (d *door) welcome(socket int, from unix.Sockaddr) {
	n, _, err := unix.Recvfrom(socket, d.head[:], unix.MSG_PEEK)
	kind := kindOf(d.head[:max(n, 0)]) // n is -1 after an error
	gone := n <= 0 && !errors.Is(err, unix.EAGAIN)
	if n > 0 && kind != abusiveVisitor {
		poll := []unix.PollFd{{Fd: int32(socket), Events: unix.POLLRDHUP}}
		_, err := unix.Poll(poll, 0)
		gone = err != nil || poll[0].Revents != 0
	}
	if gone || kind == abusiveVisitor {
		_ = unix.Close(socket)
		return
	}
	d.waiting = append(d.waiting, visitor{socket: socket, client: clientOf(from), kind: kind})
}

// drop closes all waiting connections except the best.
func (d *door) drop(keep int) {
	for len(d.waiting) > keep {
		last := len(d.waiting) - 1
		_ = unix.Close(d.waiting[last].socket)
		d.waiting = d.waiting[:last]
	}
}

// clientOf returns a client's address: for IPv6, that of its network, because a client may have a
// whole network.
func clientOf(from unix.Sockaddr) netip.Addr {
	switch from := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(from.Addr)
	case *unix.SockaddrInet6:
		if addr := netip.AddrFrom16(from.Addr); addr.Is4In6() {
			return addr.Unmap()
		}
		return netip.PrefixFrom(netip.AddrFrom16(from.Addr), 64).Masked().Addr()
	}
	return netip.Addr{}
}
