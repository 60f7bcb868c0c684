//go:build !linux

package telemetry

import (
	"net"

	"golang.org/x/net/netutil"
)

// guard returns a listener that limits the connections. Pods run on Linux only, so the other limits
// and the preference for probes exist only there.
func (l limits) guard(listener net.Listener) (net.Listener, error) {
	return netutil.LimitListener(listener, l.conns), nil
}
