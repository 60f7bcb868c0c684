package testenv

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// startTimeout is long enough for a server to start on a busy machine.
const startTimeout = 2 * time.Minute

// Etcd is one etcd process with its data. Several clusters can share it.
type Etcd struct {
	url, peer, data, binary string

	mu      sync.Mutex
	process *Process
}

// sharedEtcd returns the etcd that all clusters from Start share. The first call starts it.
func (g *Env) sharedEtcd(ctx context.Context) (*Etcd, error) {
	g.mu.Lock()
	etcd := g.shared
	g.mu.Unlock()
	if etcd != nil {
		return etcd, nil
	}
	etcd, err := g.startEtcd(ctx)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shared = etcd
	return etcd, nil
}

func (g *Env) startEtcd(ctx context.Context) (*Etcd, error) {
	client, err := g.Address()
	if err != nil {
		return nil, err
	}
	peer, err := g.Address()
	if err != nil {
		return nil, err
	}
	data, err := g.Directory("etcd-")
	if err != nil {
		return nil, err
	}
	e := &Etcd{url: "http://" + client, peer: "http://" + peer, data: data, binary: g.assets[etcd]}
	g.onClose(e.Kill)
	return e, e.Restart(ctx)
}

// Kill kills etcd, as if it crashed, and waits until it has exited. The data stays.
func (e *Etcd) Kill() {
	if p := e.current(); p != nil {
		p.Kill()
	}
}

// Restart kills etcd if it is running, and starts it with the same address and data. It returns
// when etcd is ready.
func (e *Etcd) Restart(ctx context.Context) error {
	e.Kill()
	p, err := startProcess(exec.Command(e.binary,
		"--data-dir="+e.data,
		"--listen-client-urls="+e.url, "--advertise-client-urls="+e.url,
		"--listen-peer-urls="+e.peer, "--initial-advertise-peer-urls="+e.peer,
		"--initial-cluster=default="+e.peer,
		"--log-level=warn",
		"--watch-progress-notify-interval=5s", // kubeadm sets the same value; without these notifications, bookmarks would not advance
		// Without fsync, the data survives a crash of etcd, because the kernel still has it in the
		// page cache. It needn't survive a crash of the machine.
		"--unsafe-no-fsync",
	), nil, nil)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.process = p
	e.mu.Unlock()
	return awaitServing(ctx, "etcd", p, func(ctx context.Context) error {
		_, err := Get(ctx, e.url+"/readyz")
		return err
	})
}

func (e *Etcd) current() *Process {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.process
}

// awaitServing waits until ready returns nil. It returns an error if process p ends first.
func awaitServing(ctx context.Context, name string, p *Process, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go func() {
		select {
		case <-p.Done():
			fail(fmt.Errorf("it exited: %v", p.cmd.ProcessState))
		case <-ctx.Done():
		}
	}()
	if err := Until(ctx, 50*time.Millisecond, ready); err != nil {
		p.Kill()
		return fmt.Errorf("starting %s: %w\n%s", name, err, p.Stderr.Tail(20))
	}
	return nil
}
