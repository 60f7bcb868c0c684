package testenv

import (
	"context"
	"fmt"
	"path/filepath"
)

// Site is the setup of fernetcast in one region: permissions on the Secret, and a directory with
// the remotes' kubeconfigs.
type Site struct {
	Home *Cluster
	// Clusters is the directory of the remotes' kubeconfigs.
	Clusters string
	// Operator runs the program with OperatorRole in Home, and Runner with SidecarRole.
	Operator, Runner *Program

	namespace string
}

// Site creates a site for the Secret in the given namespace. It has no remotes yet.
func (g *Env) Site(ctx context.Context, program *Program, home *Cluster, namespace string) (*Site, error) {
	dir, err := g.Directory("clusters-")
	if err != nil {
		return nil, err
	}
	s := &Site{Home: home, Clusters: dir, namespace: namespace}
	for role, place := range map[Role]**Program{OperatorRole: &s.Operator, SidecarRole: &s.Runner} {
		flags, err := s.Flags(ctx, Access{Role: role})
		if err != nil {
			return nil, err
		}
		*place = program.With(flags...)
	}
	return s, nil
}

// Flags returns the flags that every command needs. For them, it creates a new kubeconfig of the
// home cluster with access to the site's namespace only.
func (s *Site) Flags(ctx context.Context, access Access) ([]string, error) {
	access.Namespace = s.namespace
	kubeconfig, err := s.Home.Kubeconfig(ctx, access)
	if err != nil {
		return nil, err
	}
	dir, err := s.Home.env.Directory("home-")
	if err != nil {
		return nil, err
	}
	if err := WriteFile(dir, "kubeconfig", kubeconfig); err != nil {
		return nil, err
	}
	return []string{"--kubeconfig", filepath.Join(dir, "kubeconfig"), "--namespace", s.namespace, "--clusters", s.Clusters}, nil
}

// Join adds a kubeconfig for a remote, which gets the name of its cluster. By default, the
// kubeconfig gives RemoteRole in the site's namespace.
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
