// Package soak runs the release build for a long time and checks that its resource use doesn't
// grow. Other tests compare the resource use with limits.
package soak

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	mainRegion = "sjc"
	// keysKept is Keystone's setting max_active_keys. It is so high that a remote that misses many
	// rotations still has related keys.
	keysKept = 60
)

var (
	shared *testenv.Env
	// length is short by default. make soak sets 10m.
	length = flag.Duration("length", 30*time.Second, "length of the soak")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testenv.Main(m, &shared, mainRegion, "dfw", "iad", "ord"))
}

// stand is a main region and three remotes. dfw is healthy, iad is behind a proxy, and ord's
// kubeconfig is added and removed.
type stand struct {
	*testenv.Stage
	proxy *testenv.Proxy
	site  *testenv.Site
	ord   [2][]byte // kubeconfigs with different tokens
	added int
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{Stage: shared.Stage(t, "soak", *length+5*time.Minute)}
	s.site = s.At(s.Shipped(), mainRegion)
	s.Keys(mainRegion, 7)
	var err error
	s.proxy, err = shared.Cluster("iad").Proxy()
	s.Must(err)
	t.Cleanup(s.proxy.Close)
	s.Must(s.site.Join(s.Ctx, shared.Cluster("dfw"), testenv.Access{}))
	s.Must(s.site.Join(s.Ctx, shared.Cluster("iad"), testenv.Access{Server: s.proxy.URL()}))
	for i := range s.ord {
		s.ord[i], err = shared.Cluster("ord").Kubeconfig(s.Ctx, testenv.Access{Namespace: s.NS, Role: testenv.RemoteRole})
		s.Must(err)
	}
	s.addOrd()
	s.Exits(0, s.site.Operator, "promote", mainRegion, "--yes")
	return s
}

// addOrd adds ord's kubeconfig, with a different token than the last time.
func (s *stand) addOrd() {
	s.Helper()
	s.added++
	s.Must(testenv.WriteFile(s.site.Clusters, "ord.yaml", s.ord[s.added%2]))
}

func (s *stand) removeOrd() {
	s.Helper()
	s.Must(os.Remove(filepath.Join(s.site.Clusters, "ord.yaml")))
}

// run is a process of `fernetcast run` and its listen address.
type run struct {
	*testenv.Process
	address string
}

func (s *stand) run() *run {
	s.Helper()
	process, address := s.site.StartRun(s, "--request-timeout", "1s", "--resync", "5s", "--backoff-max", "2s")
	return &run{process, address}
}

// settled waits until every remote has the keys and /statusz shows them all as Synced.
func (s *stand) settled(r *run, keys testenv.Repository) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Ctx, testenv.Soon)
	defer cancel()
	s.Must(testenv.Until(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		var errs []error
		for _, name := range []string{"dfw", "iad", "ord"} {
			errs = append(errs, shared.Cluster(name).Holds(ctx, s.NS, keys))
		}
		status, err := testenv.Statusz(ctx, r.address)
		if errs = append(errs, err); err == nil && (status.Remote("ord") == nil || len(status.Remotes) != 3) {
			errs = append(errs, errors.New("ord is missing"))
		}
		if err == nil {
			for name, state := range status.States() {
				if state != "Synced" {
					errs = append(errs, fmt.Errorf("%s is %s", name, state))
				}
			}
		}
		return errors.Join(errs...)
	}))
}
