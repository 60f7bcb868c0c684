package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// within calls do on a thread in the node's network namespace, and ends the thread afterward. A
// socket that do opens stays in that network. do must open it on the same goroutine.
func (n *Node) within(do func() error) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() { // the process's first thread never ends, so it would stay in the node's network
			defer runtime.UnlockOSThread()
			ended <- n.within(do) // this starts a goroutine on another thread, because the current one is locked to the first
			return
		}
		ended <- func() error {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", n.pid))
			if err != nil {
				return fmt.Errorf("entering the node's network: %w", err)
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("entering the node's network: %w", err)
			}
			return do()
		}()
	}()
	return <-ended
}

// Dial connects to an address (IP and port) in the node's network.
func (n *Node) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.within(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (n *Node) listen(address string) (listener net.Listener, err error) {
	err = n.within(func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp4", address)
		return err
	})
	return listener, err
}
