package testenv

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// All ports are below the kernel's range for outgoing connections. Otherwise, another program's
// connection could take a killed server's port before the server restarts.
const firstPort, blockSize, blocks = 20_000, 1000, 12

// ports hands out each loopback port only once. Each test run locks its own block of ports, so
// several runs can share a machine.
type ports struct {
	first int
	lock  *os.File

	mu    sync.Mutex
	given map[int]bool
}

func claimPorts() (*ports, error) {
	var last error
	for _, block := range rand.Perm(blocks) {
		path := filepath.Join(os.TempDir(), fmt.Sprintf("fernetcast-ports-%d-%d", os.Getuid(), block))
		lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			last = err
			continue
		}
		if last = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); last == nil {
			return &ports{first: firstPort + block*blockSize, lock: lock, given: map[int]bool{}}, nil
		}
		_ = lock.Close()
	}
	return nil, fmt.Errorf("all blocks of ports are in use by other runs: %w", last)
}

// take returns a port that no program listens on.
func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var last error
	for range 100 {
		port := p.first + rand.IntN(blockSize)
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

// Address returns a loopback address (host:port) that is not in use, and never the same address
// twice. Use it for --listen, or as the address of a server that refuses connections.
func (g *Env) Address() (string, error) {
	port, err := g.ports.take()
	if err != nil {
		return "", err
	}
	return loopback(port), nil
}

// Get requests url and returns the response's body. Any status except 200 is an error. Get times
// out after 5 s.
func Get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("requesting %s: %w", url, err)
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
