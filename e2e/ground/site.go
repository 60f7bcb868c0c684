package ground

import (
	"context"
	"fmt"
	"path/filepath"
)

// Site is the program at home in one region: with rights on its Secret, and a
// directory of remotes.
type Site struct {
	Home *Cluster
	// Clusters is the directory of the remotes' kubeconfigs.
	Clusters string
	// Operator is the program with an operator's rights at home, Runner with the
	// sidecar's own.
	Operator, Runner *Program

	namespace string
}

// Site makes one for the Secret of a namespace, without remotes.
func (g *Ground) Site(ctx context.Context, program *Program, home *Cluster, namespace string) (*Site, error) {
	dir, err := g.Directory("home-")
	if err != nil {
		return nil, err
	}
	s := &Site{Home: home, namespace: namespace}
	if s.Clusters, err = g.Directory("clusters-"); err != nil {
		return nil, err
	}
	for role, place := range map[Role]**Program{OperatorRole: &s.Operator, SidecarRole: &s.Runner} {
		kubeconfig, err := home.Kubeconfig(ctx, Access{Namespace: namespace, Role: role})
		if err != nil {
			return nil, err
		}
		if err := WriteFile(dir, string(role), kubeconfig); err != nil {
			return nil, err
		}
		*place = program.With("--kubeconfig", filepath.Join(dir, string(role)), "--namespace", namespace, "--clusters", s.Clusters)
	}
	return s, nil
}

// Join gives the program a kubeconfig of a remote, under the cluster's name: of
// RemoteRole where access names none, always in the site's namespace.
func (s *Site) Join(ctx context.Context, remote *Cluster, access Access) error {
	access.Namespace = s.namespace
	if access.Role == "" {
		access.Role = RemoteRole
	}
	kubeconfig, err := remote.Kubeconfig(ctx, access)
	if err != nil {
		return fmt.Errorf("joining %s: %w", remote.Name, err)
	}
	return WriteFile(s.Clusters, remote.Name+".yaml", kubeconfig)
}
