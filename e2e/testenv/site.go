package testenv

import (
	"context"
	"fmt"
	"path/filepath"
)

// Site is fernetcast's setup in one region: its permissions on the Secret and a directory of
// remotes.
type Site struct {
	Home *Cluster
	// Clusters is the directory of the remotes' kubeconfigs.
	Clusters string
	// Operator is the program with OperatorRole in Home, Runner with SidecarRole.
	Operator, Runner *Program

	namespace string
}

// Site creates a site for the Secret in namespace, without remotes.
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

// Flags returns the flags that every command needs. It creates a new kubeconfig for the home
// cluster that is limited to the site's namespace.
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

// Join adds a kubeconfig for a remote, named after its cluster. The kubeconfig is for the site's
// namespace, by default with RemoteRole.
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
