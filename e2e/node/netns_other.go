//go:build !linux

package node

import (
	"context"
	"net"
)

// Dial returns the error of Possible.
func (n *Node) Dial(context.Context, string, string) (net.Conn, error) { return nil, Possible() }

func (n *Node) listen(string) (net.Listener, error) { return nil, Possible() }
