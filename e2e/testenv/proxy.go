package testenv

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Fault determines how a Proxy treats data, in both directions.
type Fault int

const (
	// Pass forwards everything.
	Pass Fault = iota
	// Hold keeps connections open and delays all data until the fault ends, like a network
	// partition that heals.
	Hold
	// Drop keeps connections open and discards all data, like a firewall that lost its state. A
	// connection that lost data never works again.
	Drop
	// Refuse closes all connections and refuses new ones.
	Refuse
)

// Proxy forwards TCP connections to a server, with faults that can be switched on and off. Its
// methods are safe for concurrent use.
type Proxy struct {
	address, target string

	mu       sync.Mutex
	fault    Fault
	delay    time.Duration
	changed  chan struct{} // closed and replaced when the fault changes
	listener net.Listener  // nil while the fault is Refuse
	links    map[*link]bool
	closed   bool
}

// Proxy starts a proxy in front of the API server.
func (c *Cluster) Proxy() (*Proxy, error) {
	address, err := c.env.Address()
	if err != nil {
		return nil, err
	}
	return c.proxy(address)
}

func (c *Cluster) proxy(address string) (*Proxy, error) {
	p := &Proxy{
		address: address, target: c.URL[len("https://"):],
		changed: make(chan struct{}), links: map[*link]bool{},
	}
	if err := p.listen(); err != nil {
		return nil, err
	}
	c.env.onClose(p.Close)
	return p, nil
}

// URL returns the proxy's URL, for a kubeconfig. The API server's certificate is valid for this
// address.
func (p *Proxy) URL() string { return "https://" + p.address }

// Delay delays data by d in each direction. This doesn't limit the throughput, because the delays
// of consecutive data overlap.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Set changes the fault, for both existing and new connections.
func (p *Proxy) Set(fault Fault) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
	close(p.changed)
	p.changed = make(chan struct{})
	if fault == Refuse {
		p.cut()
		return nil
	}
	if p.listener != nil {
		return nil
	}
	return p.listen()
}

// Lose breaks the open connections permanently: their sockets stay open, but no data passes. New
// connections behave according to the current fault.
func (p *Proxy) Lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.lost.Store(true)
	}
}

// Connections returns the number of open connections.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Close closes all connections and stops the proxy.
func (p *Proxy) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.cut()
}

// listen starts to accept connections. The caller must hold p.mu, unless no other goroutine can use
// p yet.
func (p *Proxy) listen() error {
	if p.closed {
		return errors.New("starting a proxy: it was closed")
	}
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("starting a proxy: %w", err)
	}
	p.listener = listener
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the listener is closed
			}
			go p.serve(conn)
		}
	}()
	return nil
}

// cut closes the listener and all connections, and ignores errors. The caller must hold p.mu.
func (p *Proxy) cut() {
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for l := range p.links {
		l.close()
	}
}

func (p *Proxy) serve(client net.Conn) {
	l := &link{proxy: p, client: client, ended: make(chan struct{})}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		l.close()
		return
	}
	l.server = server
	p.mu.Lock()
	refused := p.fault == Refuse || p.closed
	if !refused {
		p.links[l] = true
	}
	p.mu.Unlock()
	if refused {
		l.close()
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { l.carry(server, client) })
	ways.Go(func() { l.carry(client, server) })
	ways.Wait()
	l.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

func (p *Proxy) state() (Fault, time.Duration, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault, p.delay, p.changed
}
