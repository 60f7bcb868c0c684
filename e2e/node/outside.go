package node

import (
	"context"
	"fmt"
	"io"
	"net"
)

// openOutside forwards a port in this process's network to a region's API server.
func (n *Node) openOutside(r *region) (err error) {
	if r.outside, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("forwarding a port to %s: %w", r.name, err)
	}
	go func() {
		for {
			near, err := r.outside.Accept()
			if err != nil {
				return
			}
			go n.forward(near, r.address())
		}
	}()
	return nil
}

func (r *region) closeOutside() {
	if r.outside != nil {
		_ = r.outside.Close() // accept no more connections when the region ends
	}
}

// forward connects to an address in the node's network, and copies data in both directions until
// either connection ends.
func (n *Node) forward(near net.Conn, address string) {
	defer near.Close()
	far, err := n.Dial(context.Background(), "tcp", address)
	if err != nil {
		return // the client sees the closed connection
	}
	defer far.Close()
	ended := make(chan error, 2)
	for to, from := range map[net.Conn]net.Conn{near: far, far: near} {
		go func() {
			_, err := io.Copy(to, from)
			ended <- err
		}()
	}
	<-ended
}
