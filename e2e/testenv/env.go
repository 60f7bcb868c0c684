// Package testenv is what fernetcast is proved on: real control planes as
// processes, the real program, key sets that rotate as openstack-helm's job
// rotates them, and eyes that see every version of a Secret. It knows nothing
// of fernetcast's own code, and it judges nothing: tests do.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
)

const modulePath = "github.com/fernetcast/fernetcast/e2e"

// Env owns control planes, their data and the keys of one run of tests.
// Its methods may be called concurrently.
type Env struct {
	// Keys makes and remembers every key of this run.
	Keys *Keys

	say    io.Writer
	module string // the directory of this Go module
	dir    string
	lock   *os.File
	assets map[string]string // the servers' paths by name
	ports  *ports

	mu       sync.Mutex
	shared   *Etcd
	clusters map[string]*Cluster
	closers  []func()

	building sync.Mutex
	built    map[string]bool // by path
}

// Open builds what the control planes need, if need be, and starts nothing.
// The working directory must be inside this Go module. What takes long is told
// on say. The caller owes a Close; should its process be killed instead, the
// children die with it (on Linux) and the next Open removes the data.
func Open(ctx context.Context, say io.Writer) (*Env, error) {
	module, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	g := &Env{
		Keys:     &Keys{},
		say:      say,
		module:   module,
		built:    map[string]bool{},
		clusters: map[string]*Cluster{},
	}
	if g.assets, err = findPrograms(ctx, g.module, say, servers...); err != nil {
		return nil, err
	}
	if g.ports, err = claimPorts(); err != nil {
		return nil, err
	}
	if g.dir, g.lock, err = newScratch(); err != nil {
		return nil, errors.Join(err, g.ports.lock.Close())
	}
	return g, nil
}

// Start starts a cluster for each name, all at once, over one shared etcd: it
// gives every resourceVersion only once, so versions of different clusters are
// never alike by accident. StartApart gives a cluster an etcd of its own.
func (g *Env) Start(ctx context.Context, names ...string) error {
	etcd, err := g.sharedEtcd(ctx)
	if err != nil {
		return err
	}
	starts, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		starts.Go(func() error {
			_, err := g.startCluster(ctx, name, etcd)
			return err
		})
	}
	return starts.Wait()
}

// StartApart starts one cluster over an etcd of its own, as each region has,
// which can be killed and restarted without the others.
func (g *Env) StartApart(ctx context.Context, name string) (*Cluster, error) {
	etcd, err := g.startEtcd(ctx)
	if err != nil {
		return nil, err
	}
	return g.startCluster(ctx, name, etcd)
}

// Cluster returns a cluster that was started under name. Any other name is a
// mistake in the test, and panics.
func (g *Env) Cluster(name string) *Cluster {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := g.clusters[name]
	if !ok {
		panic("testenv: no cluster was started as " + name)
	}
	return c
}

// Clusters returns those with the given names, or for none all that Start started, in
// no particular order.
func (g *Env) Clusters(names ...string) []*Cluster {
	var found []*Cluster
	for _, name := range names {
		found = append(found, g.Cluster(name))
	}
	if len(names) > 0 {
		return found
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.clusters {
		if c.Etcd == g.shared {
			found = append(found, c)
		}
	}
	return found
}

// Directory makes an empty directory that lives as long as the env does.
func (g *Env) Directory(pattern string) (string, error) {
	dir, err := os.MkdirTemp(g.dir, pattern)
	if err != nil {
		return "", fmt.Errorf("making a directory: %w", err)
	}
	return dir, nil
}

// Close ends every process that the env started and removes the data.
func (g *Env) Close() error {
	g.mu.Lock()
	closers := g.closers
	g.closers = nil
	g.mu.Unlock()
	var ended sync.WaitGroup
	for _, end := range closers {
		ended.Go(end)
	}
	ended.Wait()
	return errors.Join(os.RemoveAll(g.dir), g.lock.Close(), g.ports.lock.Close())
}

// onClose keeps what Close is to end.
func (g *Env) onClose(end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closers = append(g.closers, end)
}

func (g *Env) path(elem ...string) string {
	return filepath.Join(append([]string{g.dir}, elem...)...)
}
