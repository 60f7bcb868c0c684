// Package testenv runs fernetcast against real control planes. It starts them as processes, builds
// the program as it is released, rotates keys like openstack-helm's job, and records every version
// of a Secret. It doesn't import fernetcast's own code, and leaves assertions to the tests.
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

// Env owns the control planes, data, and keys of one test run. Its methods are safe for concurrent
// use.
type Env struct {
	// Keys creates and remembers every key of this run.
	Keys *Keys

	progress io.Writer
	module   string // directory of this Go module
	dir      string
	lock     *os.File
	assets   map[string]string // paths of the servers by name
	ports    *ports

	mu       sync.Mutex
	shared   *Etcd
	clusters map[string]*Cluster
	closers  []func()

	building sync.Mutex
	built    map[string]bool // whether a program has been built, by path
}

// Open finds, downloads, or builds the servers, but doesn't start any. The working directory must
// be inside this Go module. Open writes the progress of slow steps to w. The caller must call
// Close. If the process is killed first, its children die with it (on Linux), and the next Open
// removes its data.
func Open(ctx context.Context, w io.Writer) (*Env, error) {
	module, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	g := &Env{
		Keys:     &Keys{},
		progress: w,
		module:   module,
		built:    map[string]bool{},
		clusters: map[string]*Cluster{},
	}
	if g.assets, err = findPrograms(ctx, g.module, w, servers...); err != nil {
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

// Start starts the named clusters in parallel on one shared etcd. Because an etcd uses each
// resourceVersion only once, versions from different clusters are never equal by chance. To give a
// cluster its own etcd, use StartApart.
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

// StartApart starts a cluster with its own etcd, as in a real region. A test can kill and restart
// it without affecting other clusters.
func (g *Env) StartApart(ctx context.Context, name string) (*Cluster, error) {
	etcd, err := g.startEtcd(ctx)
	if err != nil {
		return nil, err
	}
	return g.startCluster(ctx, name, etcd)
}

// Cluster returns the cluster with this name. It panics if there is none, which is a mistake in the
// test.
func (g *Env) Cluster(name string) *Cluster {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, ok := g.clusters[name]
	if !ok {
		panic("testenv: there is no cluster named " + name)
	}
	return c
}

// Clusters returns the named clusters. Without names, it returns all clusters that Start started,
// in no particular order.
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

// Directory creates an empty directory, which Close removes.
func (g *Env) Directory(pattern string) (string, error) {
	dir, err := os.MkdirTemp(g.dir, pattern)
	if err != nil {
		return "", fmt.Errorf("creating a directory: %w", err)
	}
	return dir, nil
}

// Close ends all processes that the Env started, and removes the data.
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

// onClose registers a function for Close to call.
func (g *Env) onClose(end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closers = append(g.closers, end)
}

func (g *Env) path(elem ...string) string {
	return filepath.Join(append([]string{g.dir}, elem...)...)
}
