package testenv

import (
	"errors"
	"fmt"
	"net"
)

// Outside starts a Proxy in front of the API server. It listens at an address of this machine other
// than loopback. The API server's certificate is valid only for 127.0.0.1, so a kubeconfig with
// this address must set that as its tls-server-name.
func (c *Cluster) Outside() (*Proxy, error) {
	host, err := outsideAddress()
	if err != nil {
		return nil, err
	}
	port, err := c.env.ports.take()
	if err != nil {
		return nil, err
	}
	return c.proxy(net.JoinHostPort(host, fmt.Sprint(port)))
}

func outsideAddress() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("looking for an address of this machine: %w", err)
	}
	for _, address := range addresses {
		if ip, _, err := net.ParseCIDR(address.String()); err == nil && ip.To4() != nil && ip.IsGlobalUnicast() {
			return ip.String(), nil
		}
	}
	return "", errors.New("this machine has no IPv4 address except loopback")
}
