// Package bench measures the program as it ships, on a main and three remotes,
// beside the least that anybody could do. It is not run with the other tests:
// its figures are those of a quiet machine.
package bench

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/ground"
)

const mainRegion = "sjc"

var (
	shared  *ground.Ground
	remotes = []string{"dfw", "iad", "ord"}
)

func TestMain(m *testing.M) {
	os.Exit(ground.Main(m, &shared, append([]string{mainRegion}, remotes...)...))
}

var shipped = sync.OnceValues(func() (*ground.Program, error) {
	return shared.Program(context.Background())
})

// stand is a namespace in every cluster, with a key set in the main's, and
// everybody's versions.
type stand struct {
	*testing.T
	ctx  context.Context
	ns   string
	main *ground.Cluster
	keys ground.Repository
	seen map[string]*ground.History
}

func newStand(t *testing.T) *stand {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	ns, err := shared.Namespace(ctx, "bench")
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{
		T: t, ctx: ctx, ns: ns, main: shared.Cluster(mainRegion),
		keys: shared.Keys.NewRepository(8, 7), seen: map[string]*ground.History{},
	}
	_, err = s.main.Put(ctx, ns, s.keys)
	s.must(err)
	for _, name := range append([]string{mainRegion}, remotes...) {
		history, err := shared.Cluster(name).Follow(ctx, ns)
		s.must(err)
		t.Cleanup(history.Stop)
		s.seen[name] = history
	}
	return s
}

func (s *stand) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// lastEqual waits until every remote has the keys, and tells when the last one
// committed them.
func (s *stand) lastEqual(keys ground.Repository) time.Time {
	s.Helper()
	var last time.Time
	for _, name := range remotes {
		v, err := s.seen[name].Await(s.ctx, func(v ground.Version) bool { return keys.Equal(v.Keys()) })
		s.must(err)
		if v.Seen.After(last) {
			last = v.Seen
		}
	}
	return last
}

// rotate rotates the main's keys, and tells how long after the main's commit
// the last remote's was. Both are seen by the same kind of watch.
func (s *stand) rotate() time.Duration {
	s.Helper()
	rotation, err := s.main.Rotate(s.ctx, s.ns, len(s.keys))
	s.must(err)
	source, err := s.seen[mainRegion].Await(s.ctx, func(v ground.Version) bool {
		return v.Secret.ResourceVersion == rotation.ResourceVersion
	})
	s.must(err)
	return s.lastEqual(rotation.Keys).Sub(source.Seen)
}

// program is the one that ships, with the rights that it has beside Keystone,
// on a main that was promoted and has nothing pushed yet.
func (s *stand) program() *ground.Program {
	s.Helper()
	built, err := shipped()
	s.must(err)
	dir, clusters := s.TempDir(), s.TempDir()
	for name, role := range map[string]ground.Role{"sidecar": ground.SidecarRole, "operator": ground.OperatorRole} {
		s.kubeconfig(mainRegion, role, dir, name)
	}
	with := func(name string) *ground.Program {
		return built.With("--kubeconfig", filepath.Join(dir, name), "--namespace", s.ns, "--clusters", clusters)
	}
	result, err := with("operator").Run(s.ctx, "promote", mainRegion, "--yes")
	s.must(err)
	if result.Code != 0 {
		s.Fatalf("promote: exit %d\n%s%s", result.Code, result.Stdout, result.Stderr)
	}
	for _, name := range remotes {
		s.kubeconfig(name, ground.RemoteRole, clusters, name+".yaml")
	}
	return with("sidecar")
}

func (s *stand) kubeconfig(cluster string, role ground.Role, dir, file string) {
	s.Helper()
	kubeconfig, err := shared.Cluster(cluster).Kubeconfig(s.ctx, ground.Access{Namespace: s.ns, Role: role})
	s.must(err)
	s.must(ground.WriteFile(dir, file, kubeconfig))
}

// run starts the program, and ends it at the test's end.
func (s *stand) run(p *ground.Program, args ...string) *ground.Process {
	s.Helper()
	address, err := shared.Address()
	s.must(err)
	process, err := p.Start(append([]string{"run", "--listen", address}, args...)...)
	s.must(err)
	s.Cleanup(func() {
		process.Kill()
		if s.Failed() {
			s.Logf("the last of run's log:\n%s", process.Stderr.Tail(20))
		}
	})
	return process
}
