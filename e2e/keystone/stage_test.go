package keystone_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/keystone"
	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	mainRegion = "sjc"
	// testTime is the timeout of a test.
	testTime = 8 * time.Minute
	good     = 200
	refused  = 401
)

var (
	shared  *testenv.Env
	remotes = []string{"dfw", "iad"}
	all     = append([]string{mainRegion}, remotes...)
)

func TestMain(m *testing.M) {
	if err := keystone.Installed(); err != nil {
		if os.Getenv("REQUIRE_KEYSTONE") != "" {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stderr, "skipping the tests with a real Keystone:", err)
		return
	}
	os.Exit(testenv.Main(m, &shared, all...))
}

var identity = sync.OnceValues(func() (*keystone.Cloud, error) {
	return keystone.Open(context.Background(), shared)
})

// stage is the setup of one test: a Keystone in each region, all with the same database, and
// fernetcast in the main region.
type stage struct {
	*testenv.Stage
	maxActive int
	keys      testenv.Repository
	site      *testenv.Site
	// paths holds the proxies through which the main region's fernetcast reaches each remote.
	// Operators' commands don't use them.
	paths   map[string]*testenv.Proxy
	regions map[string]*keystone.Region
	source  *testenv.History
	// writes counts the test's own writes to the main region's Secret.
	writes int
	run    *testenv.Process
	listen string
}

// newStage creates keys in the main region, starts everything, and waits until all regions have the
// same keys.
func newStage(t *testing.T, maxActive int) *stage {
	t.Helper()
	t.Parallel()
	s := &stage{
		Stage: shared.Stage(t, "k", testTime), maxActive: maxActive,
		paths: map[string]*testenv.Proxy{}, regions: map[string]*keystone.Region{},
	}
	s.keys = s.Keys(mainRegion, maxActive)
	var err error
	s.source, err = shared.Cluster(mainRegion).Follow(s.Ctx, s.NS)
	s.Must(err)
	s.Cleanup(s.source.Stop)
	s.site = s.At(s.Shipped(), mainRegion)
	for _, name := range remotes {
		s.paths[name], err = shared.Cluster(name).Proxy()
		s.Must(err)
		s.Cleanup(s.paths[name].Close)
		s.Must(s.site.Join(s.Ctx, shared.Cluster(name), testenv.Access{Server: s.paths[name].URL()}))
	}
	s.promote(s.site)
	s.run, s.listen = s.site.StartRun(s)
	s.open()
	s.Cleanup(s.sourceUntouched)
	return s
}

// open starts the Keystones.
func (s *stage) open() {
	s.Helper()
	cloud, err := identity()
	s.Must(err)
	var mu sync.Mutex
	var starting sync.WaitGroup
	for _, name := range all {
		starting.Go(func() {
			region, err := cloud.Region(s.Ctx, shared.Cluster(name), s.NS, s.maxActive)
			if err != nil {
				s.Error(err)
				return
			}
			s.Cleanup(region.Stop)
			mu.Lock()
			defer mu.Unlock()
			s.regions[name] = region
		})
	}
	starting.Wait()
	if s.Failed() {
		s.FailNow()
	}
}

// exits runs a command, checks its exit code, and returns its output.
func (s *stage) exits(code int, site *testenv.Site, args ...string) string {
	s.Helper()
	r := s.Exits(code, site.Operator, args...)
	return r.Stdout + r.Stderr
}

func (s *stage) promote(site *testenv.Site, args ...string) {
	s.Helper()
	s.Promote(site, args...)
	if site.Home.Name == mainRegion {
		s.writes++
	}
}

// sourceUntouched checks that only the test has written the main region's Secret. So fernetcast
// can't have caused a conflict for a rotation job's PUT.
func (s *stage) sourceUntouched() {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Soon)
	defer cancel()
	if err := s.source.CatchUp(ctx); err != nil {
		s.Error(err)
		return
	}
	if n := len(s.source.Versions()) - 1; n != s.writes {
		s.Errorf("the main region's Secret was written %d times, but only %d times by the test", n, s.writes)
	}
}

// rotate runs the main region's rotation job, and returns the keys that it wrote.
func (s *stage) rotate() testenv.Repository {
	s.Helper()
	done, err := s.regions[mainRegion].Rotate(s.Ctx, s.maxActive)
	s.Must(err)
	s.writes++
	s.keys = done.Keys
	return done.Keys
}

// sees waits until the pods in the named regions see exactly these keys.
func (s *stage) sees(keys testenv.Repository, names ...string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Ctx, testenv.Soon)
	defer cancel()
	for _, name := range names {
		_, err := s.regions[name].Await(ctx, keys)
		s.Must(err)
	}
}

// issue returns a new token from the region's Keystone.
func (s *stage) issue(region string) keystone.Token {
	s.Helper()
	token, err := s.regions[region].Issue(s.Ctx)
	s.Must(err)
	return token
}

// is validates a token in the named regions, which must all return this status.
func (s *stage) is(status int, token keystone.Token, names ...string) {
	s.Helper()
	for _, name := range names {
		answer, err := s.regions[name].Validate(s.Ctx, token)
		s.Must(err)
		if answer.Status != status {
			s.Errorf("a token from %s with key %d got %d in %s, which has primary %d; want %d",
				token.Region, token.Index, answer.Status, name, answer.Keys.Primary(), status)
		}
	}
}

// shows waits until wanted returns true for a remote's status in the main region's /statusz.
func (s *stage) shows(name string, wanted func(*testenv.RemoteStatus) bool) *testenv.RemoteStatus {
	s.Helper()
	var remote *testenv.RemoteStatus
	s.Until(func(ctx context.Context) error {
		status, err := testenv.Statusz(ctx, s.listen)
		if err != nil {
			return err
		}
		if remote = status.Remote(name); remote == nil || !wanted(remote) {
			return fmt.Errorf("the status of %s is %+v", name, remote)
		}
		return nil
	})
	return remote
}

// but returns the names of all regions except some.
func but(some ...string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(some, name) })
}
