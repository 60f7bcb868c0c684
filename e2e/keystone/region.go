package keystone

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// Region is the Keystone of one region. It reads its keys from a volume that follows the cluster's
// Secret. Its methods are safe for concurrent use.
type Region struct {
	Name    string
	Cluster *testenv.Cluster

	cloud     *Cloud
	namespace string
	conf      config
	url       string
	process   *testenv.Process
	history   *testenv.History
	files     *testenv.Process // `fernetcast files`, or nil if a simulated kubelet updates the repository

	// swap prevents requests while the volume is swapped. Keystone lists its keys and then opens
	// each file, so during a swap, it could load a mix of both sets. That is an issue between
	// Keystone and the kubelet, not of fernetcast.
	swap sync.RWMutex

	mu      sync.Mutex
	delay   time.Duration
	mounted testenv.Repository
	at      time.Time     // when the keys in mounted were written
	changed chan struct{} // closed and replaced when mounted changes
	err     error         // why updates stopped
}

// Region starts a Keystone for a cluster. The Secret must already exist in namespace, and a
// simulated volume follows it until ctx ends. Region returns when Keystone is ready. The caller
// must call Stop.
func (c *Cloud) Region(ctx context.Context, cluster *testenv.Cluster, namespace string, maxActive int) (*Region, error) {
	conf, err := c.configure(cluster.Name, maxActive)
	if err != nil {
		return nil, err
	}
	history, err := cluster.Follow(ctx, namespace)
	if err != nil {
		return nil, err
	}
	r := &Region{
		Name: cluster.Name, Cluster: cluster, cloud: c, namespace: namespace, conf: conf,
		history: history, changed: make(chan struct{}),
	}
	if err := r.mount(ctx, 0); err != nil {
		return nil, err
	}
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	go r.follow(ctx, 1)
	return r, nil
}

// RegionWithFiles is like Region, but `fernetcast files` writes the key repository instead of a
// simulated volume. The program must include the flags to access the Secret.
func (c *Cloud) RegionWithFiles(ctx context.Context, cluster *testenv.Cluster, namespace string, maxActive int, program *testenv.Program) (*Region, error) {
	conf, err := c.configure(cluster.Name, maxActive)
	if err != nil {
		return nil, err
	}
	r := &Region{Name: cluster.Name, Cluster: cluster, cloud: c, namespace: namespace, conf: conf, changed: make(chan struct{})}
	if r.files, err = program.Start("files", conf.repository, "--listen", "", "--pause", "300ms"); err != nil {
		return nil, err
	}
	err = testenv.Until(ctx, 10*time.Millisecond, func(context.Context) error {
		keys, err := readKeys(conf.repository)
		if err == nil && keys.Primary() == 0 {
			err = fmt.Errorf("%s has no keys yet: %s", cluster.Name, r.files.Stderr.Tail(5))
		}
		return err
	})
	if err == nil {
		err = r.start(ctx)
	}
	if err != nil {
		r.files.Kill()
		return nil, err
	}
	return r, nil
}

// start starts Keystone and returns when it is ready.
func (r *Region) start(ctx context.Context) error {
	address, err := r.cloud.env.Address()
	if err != nil {
		return err
	}
	app, err := exec.LookPath(wsgi)
	if err != nil {
		return err
	}
	// Use one thread, because Debian's SQLAlchemy doesn't share SQLite between threads.
	program := &testenv.Program{Path: server, Env: []string{"OS_KEYSTONE_CONFIG_FILES=" + r.conf.path}}
	r.url = "http://" + address
	r.process, err = program.Start("--http-socket", address, "--wsgi-file", app,
		"--post-buffering", "65536", "--need-app", "--disable-logging", "--die-on-term", "--listen", "100")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err = testenv.Until(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		_, err := testenv.Get(ctx, r.url+"/v3")
		return err
	})
	if err != nil {
		r.process.Kill()
		return fmt.Errorf("starting Keystone in %s: %w\n%s", r.Name, err, r.process.Stderr.Tail(20))
	}
	return nil
}

// Stop stops the Keystone.
func (r *Region) Stop() {
	r.process.Kill()
	if r.files != nil {
		r.files.Kill()
		return
	}
	r.history.Stop()
}

// Delay sets how long it takes until the pod sees a change to the Secret.
func (r *Region) Delay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// follow writes each version of the Secret to the volume after the delay. Like a kubelet, it skips
// intermediate versions, and keeps the last version if the Secret is deleted.
func (r *Region) follow(ctx context.Context, from int) {
	for {
		n := 0
		_, err := r.history.Await(ctx, func(testenv.Version) bool { n++; return n > from })
		if err == nil {
			r.mu.Lock()
			delay := r.delay
			r.mu.Unlock()
			select {
			case <-time.After(delay):
			case <-ctx.Done():
			}
			from = len(r.history.Versions())
			err = r.mount(ctx, from-1)
		}
		if err != nil {
			r.mu.Lock()
			r.err = err
			close(r.changed)
			r.changed = make(chan struct{})
			r.mu.Unlock()
			return
		}
	}
}

// mount writes a version of the Secret to the volume.
func (r *Region) mount(ctx context.Context, version int) error {
	v, err := r.version(ctx, version)
	if err != nil || v.Deleted {
		return err
	}
	r.swap.Lock()
	defer r.swap.Unlock()
	if err := testenv.WriteVolume(r.conf.repository, v.Keys(), 0o600); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mounted, r.at = v.Keys(), time.Now()
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// Endpoint returns the URL of the region's identity API.
func (r *Region) Endpoint() string { return r.url + "/v3" }

// Environment returns the variables that OpenStack tools read to sign in at this region.
func (r *Region) Environment() []string {
	return []string{
		"OS_AUTH_URL=" + r.Endpoint(), "OS_USERNAME=" + admin, "OS_PASSWORD=" + password, "OS_PROJECT_NAME=" + admin,
		"OS_USER_DOMAIN_ID=default", "OS_PROJECT_DOMAIN_ID=default",
	}
}

// Misuse replaces the volume's files with keys that aren't in the Secret. Before the call, set a
// long Delay, so that no change to the Secret overwrites them.
func (r *Region) Misuse(keys testenv.Repository) error {
	r.swap.Lock()
	defer r.swap.Unlock()
	return testenv.WriteVolume(r.conf.repository, keys, 0o600)
}

func (r *Region) version(ctx context.Context, n int) (testenv.Version, error) {
	i := -1
	return r.history.Await(ctx, func(testenv.Version) bool { i++; return i >= n })
}

// Await blocks until the pod sees exactly these keys, and returns the time when it first saw them.
func (r *Region) Await(ctx context.Context, keys testenv.Repository) (time.Time, error) {
	for {
		r.mu.Lock()
		mounted, at, changed, err := r.mounted, r.at, r.changed, r.err
		r.mu.Unlock()
		switch {
		case keys.Equal(mounted):
			return at, nil
		case err != nil:
			return time.Time{}, fmt.Errorf("mounting the keys in %s: %w", r.Name, err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for %s to see primary %d (it has %d): %w", r.Name, keys.Primary(), mounted.Primary(), context.Cause(ctx))
		}
	}
}
