package node

import (
	"context"
	"fmt"
	"io"
	"net"
)

// openOutside opens a way to a region's API server from this process's network.
func (n *Node) openOutside(r *region) (err error) {
	if r.outside, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("opening a way to %s: %w", r.name, err)
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
		_ = r.outside.Close() // nobody is to reach a region that ends
	}
}

// forward joins a connection to one inside, until one of them ends.
func (n *Node) forward(near net.Conn, address string) {
	defer near.Close()
	far, err := n.Dial(context.Background(), "tcp", address)
	if err != nil {
		return // whoever connected sees the end
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
