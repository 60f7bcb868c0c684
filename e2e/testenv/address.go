package testenv

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// ports hands out loopback ports, each once.
type ports struct {
	mu    sync.Mutex
	given map[int]bool
}

// take returns a port that nobody listens on. It lies below the range that the
// kernel takes outgoing connections' ports from: a server that is killed can
// then have its port back, whatever was dialled meanwhile.
func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var last error
	for range 100 {
		port := 20000 + rand.IntN(12000)
		if p.given[port] {
			continue
		}
		listener, err := net.Listen("tcp", loopback(port))
		if err != nil {
			last = err
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("trying port %d: %w", port, err)
		}
		p.given[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("finding a free port: %w", last)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Address returns a loopback host:port that nobody listens on and that no
// other call returns: for --listen, or for a server that refuses connections.
func (g *Env) Address() (string, error) {
	port, err := g.ports.take()
	if err != nil {
		return "", err
	}
	return loopback(port), nil
}

// Get returns the body of url; any answer but 200 is an error. It waits 5 s at most.
func Get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %.500s", url, response.Status, body)
	}
	return body, nil
}
