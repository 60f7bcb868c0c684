package testenv

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Fault is what a Proxy does with the bytes that pass it, both ways.
type Fault int

const (
	// Pass hands everything on.
	Pass Fault = iota
	// Hold keeps bytes back with the sockets open, and hands them on when the
	// fault is over: a partition that heals.
	Hold
	// Drop loses bytes with the sockets open. A connection that lost some stays
	// dead for ever: a firewall that forgot it.
	Drop
	// Refuse cuts every connection and refuses new ones.
	Refuse
)

// Proxy stands before a server on the loopback address, with faults that can be
// switched on and off. Its methods may be called concurrently.
type Proxy struct {
	address, target string

	mu       sync.Mutex
	fault    Fault
	delay    time.Duration
	changed  chan struct{} // closed and replaced when the fault changes
	listener net.Listener  // nil while refusing
	links    map[*link]bool
	closed   bool
}

// Proxy starts one before the cluster's API server.
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

// URL is the server's for a kubeconfig; the cluster's CA is good for it.
func (p *Proxy) URL() string { return "https://" + p.address }

// Delay makes every piece of data wait d before it is handed on, each way. What
// comes meanwhile waits its own d: it adds to the round trip and takes nothing
// from the throughput.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Set switches to fault, for connections that exist and for new ones.
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

// Lose makes the connections that are open now black for ever: their sockets
// stay open, and no byte passes any more. New ones are as the fault has them.
func (p *Proxy) Lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.lost.Store(true)
	}
}

// Connections is how many are open now.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Close cuts every connection and ends the proxy.
func (p *Proxy) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.cut()
}

// listen starts to take connections; p.mu is held, or nobody else knows p.
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
				return // closed
			}
			go p.serve(conn)
		}
	}()
	return nil
}

// cut closes everything; p.mu is held. What the sockets answer to that tells nothing.
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
