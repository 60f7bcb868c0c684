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
	// testTime ends a test that hangs.
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
		fmt.Fprintln(os.Stderr, "the tests on a real Keystone are left out:", err)
		return
	}
	os.Exit(testenv.Main(m, &shared, all...))
}

var identity = sync.OnceValues(func() (*keystone.Cloud, error) {
	return keystone.Open(context.Background(), shared)
})

// stage is one test's: a Keystone in each region, on one identity, and the
// program in the main.
type stage struct {
	*testenv.Stage
	maxActive int
	keys      testenv.Repository
	site      *testenv.Site
	// paths are the ways from the main to each remote; an operator has others.
	paths   map[string]*testenv.Proxy
	regions map[string]*keystone.Region
	source  *testenv.History
	// writes are those that the main's Secret has had: the test's own.
	writes int
	run    *testenv.Process
	listen string
}

// newStage has keys in use in the main, equal in all regions.
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

// exits runs a command that has to end with the code, and returns its output.
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

// sourceUntouched: the main's Secret was never written but by the test itself,
// so no rotation job can ever have lost its PUT to us.
func (s *stage) sourceUntouched() {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Soon)
	defer cancel()
	if err := s.source.CatchUp(ctx); err != nil {
		s.Error(err)
		return
	}
	if n := len(s.source.Versions()) - 1; n != s.writes {
		s.Errorf("the main's Secret was written %d times, %d of them by the test", n, s.writes)
	}
}

// rotate runs the main's rotation job, and returns when it has put its keys.
func (s *stage) rotate() testenv.Repository {
	s.Helper()
	done, err := s.regions[mainRegion].Rotate(s.Ctx, s.maxActive)
	s.Must(err)
	s.writes++
	s.keys = done.Keys
	return done.Keys
}

// sees waits until the named regions' pods see just these keys.
func (s *stage) sees(keys testenv.Repository, names ...string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Ctx, testenv.Soon)
	defer cancel()
	for _, name := range names {
		_, err := s.regions[name].Await(ctx, keys)
		s.Must(err)
	}
}

// issue has a region sign a token.
func (s *stage) issue(region string) keystone.Token {
	s.Helper()
	token, err := s.regions[region].Issue(s.Ctx)
	s.Must(err)
	return token
}

// is shows a token to the named regions, each of which has to answer so.
func (s *stage) is(status int, token keystone.Token, names ...string) {
	s.Helper()
	for _, name := range names {
		answer, err := s.regions[name].Validate(s.Ctx, token)
		s.Must(err)
		if answer.Status != status {
			s.Errorf("a token of %s, key %d: %d in %s, which has primary %d; want %d",
				token.Region, token.Index, answer.Status, name, answer.Keys.Primary(), status)
		}
	}
}

// shows waits until /statusz of the main's run shows a remote so.
func (s *stage) shows(name string, wanted func(*testenv.RemoteStatus) bool) *testenv.RemoteStatus {
	s.Helper()
	var remote *testenv.RemoteStatus
	s.Until(func(ctx context.Context) error {
		status, err := testenv.Statusz(ctx, s.listen)
		if err != nil {
			return err
		}
		if remote = status.Remote(name); remote == nil || !wanted(remote) {
			return fmt.Errorf("%s is shown as %+v", name, remote)
		}
		return nil
	})
	return remote
}

// but are all regions without some.
func but(some ...string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(some, name) })
}
