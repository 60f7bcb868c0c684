//go:build !linux

package node

import (
	"context"
	"net"
)

// Dial always fails, with the error from Possible.
func (n *Node) Dial(context.Context, string, string) (net.Conn, error) { return nil, Possible() }

func (n *Node) listen(string) (net.Listener, error) { return nil, Possible() }
