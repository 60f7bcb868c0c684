package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	mainRegion = "sjc"
	namespace  = "openstack"
	maxActive  = 7 // openstack-helm's max_active_keys
	limit      = 5 * time.Second
)

// remoteRegions returns the remotes on control planes without nodes.
func remoteRegions() []string { return []string{"dfw", "iad", "ord"} }

// stage is the running demo: its processes, clients, and paths.
type stage struct {
	env     *testenv.Env
	program *testenv.Program
	syncer  *testenv.Process // `fernetcast run`
	watch   *testenv.Process // `fernetcast status --watch`
	tokens  identity
	pods    *pods
	listen  string
	remotes []string // all remotes, including podRegion if there is one

	dir, log string
}

// setStage starts everything and waits until all remotes are Synced. If it returns both a stage and
// an error, the caller must still close the stage.
func setStage(ctx context.Context, view *screen) (*stage, error) {
	view.say("Starting four control planes: main region %s, and remotes %s.", mainRegion, strings.Join(remoteRegions(), ", "))
	g, err := testenv.Open(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	s := &stage{env: g, remotes: remoteRegions()}
	if err := g.Start(ctx, append(remoteRegions(), mainRegion)...); err != nil {
		return s, err
	}
	if s.program, err = g.Program(ctx); err != nil {
		return s, err
	}
	if err := s.furnish(ctx); err != nil {
		return s, err
	}
	view.say("%s has the keys of a Keystone in use. The remotes have no keys yet.", mainRegion)
	view.say("fernetcast promote %s --yes", mainRegion)
	promoted, err := s.program.Run(ctx, s.operating("promote", mainRegion, "--yes")...)
	if err != nil {
		return s, err
	}
	view.say("%s%s", promoted.Stdout, promoted.Stderr)
	if promoted.Code != 0 {
		return s, fmt.Errorf("promote %s: exit code %d", mainRegion, promoted.Code)
	}
	if err := s.startSyncer(); err != nil {
		return s, err
	}
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := testenv.Until(waiting, 50*time.Millisecond, s.allSynced); err != nil {
		return s, fmt.Errorf("waiting for all remotes to be Synced: %w\n%s", err, s.syncer.Stderr.Tail(10))
	}
	if err := s.openIdentity(ctx, view); err != nil {
		return s, err
	}
	view.tell(s.directions())
	return s, nil
}

// furnish creates the main region's keys and all kubeconfigs.
func (s *stage) furnish(ctx context.Context) (err error) {
	if s.dir, err = s.env.Directory("demo-"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(s.dir, "clusters"), 0o700); err != nil {
		return fmt.Errorf("creating the directory of kubeconfigs: %w", err)
	}
	for _, c := range s.env.Clusters() {
		place := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		if _, err := c.Client().CoreV1().Namespaces().Create(ctx, place, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating namespace %s in %s: %w", namespace, c.Name, err)
		}
		admin, err := c.AdminKubeconfig(namespace)
		if err != nil {
			return err
		}
		if err := testenv.WriteFile(s.dir, "admin-"+c.Name, admin); err != nil {
			return err
		}
	}
	home := s.env.Cluster(mainRegion)
	if _, err := home.Put(ctx, namespace, s.env.Keys.NewRepository(8, maxActive)); err != nil {
		return fmt.Errorf("writing keys to %s: %w", mainRegion, err)
	}
	for _, name := range remoteRegions() {
		if err := s.kubeconfig(ctx, s.env.Cluster(name), testenv.RemoteRole, filepath.Join("clusters", name)); err != nil {
			return err
		}
	}
	if err := s.kubeconfig(ctx, home, testenv.SidecarRole, "sidecar"); err != nil {
		return err
	}
	return s.kubeconfig(ctx, home, testenv.OperatorRole, "operator")
}

func (s *stage) kubeconfig(ctx context.Context, c *testenv.Cluster, role testenv.Role, path string) error {
	// A demo can run for longer than a day.
	access := testenv.Access{Namespace: namespace, Role: role, Expires: time.Now().AddDate(1, 0, 0)}
	data, err := c.Kubeconfig(ctx, access)
	if err != nil {
		return err
	}
	full := s.path(path)
	return testenv.WriteFile(filepath.Dir(full), filepath.Base(full), data)
}

// startSyncer starts `run` with the permissions of the sidecar.
func (s *stage) startSyncer() (err error) {
	if s.listen, err = s.env.Address(); err != nil {
		return err
	}
	s.log = filepath.Join(s.dir, "run.log")
	log, err := os.Create(s.log)
	if err != nil {
		return fmt.Errorf("creating the log file: %w", err)
	}
	s.syncer, err = s.program.StartOn(log, log, s.reading("run", "--listen", s.listen)...)
	return err
}

// path returns the path of a kubeconfig by its name.
func (s *stage) path(name string) string { return filepath.Join(s.dir, name+".kubeconfig") }

// reading adds flags for a command that needs only the sidecar's permissions in the main region.
// operating does so for a command that needs an operator's.
func (s *stage) reading(args ...string) []string   { return s.as("sidecar", args) }
func (s *stage) operating(args ...string) []string { return s.as("operator", args) }

func (s *stage) as(who string, args []string) []string {
	return append(args, "--kubeconfig", s.path(who), "--clusters", filepath.Join(s.dir, "clusters"))
}

// allSynced returns nil if /statusz shows all remotes as Synced with the main region's primary.
func (s *stage) allSynced(ctx context.Context) error {
	status, err := testenv.Statusz(ctx, s.listen)
	if err != nil {
		return err
	}
	if status.Source.Primary == nil {
		return fmt.Errorf("/statusz shows no primary: %s: %s", status.Source.State, status.Source.Detail)
	}
	for _, name := range s.remotes {
		remote := status.Remote(name)
		if remote == nil {
			return fmt.Errorf("/statusz shows no %s", name)
		}
		if remote.State != "Synced" || remote.Primary == nil || *remote.Primary != *status.Source.Primary {
			return fmt.Errorf("/statusz shows %s as %s: %s", name, remote.State, remote.Detail)
		}
	}
	return nil
}
