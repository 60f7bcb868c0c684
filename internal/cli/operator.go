package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// A place is a cluster that one of the operator's contexts leads to.
type place struct {
	context string
	// config contains the operator's credentials.
	config *rest.Config
	// cluster is the cluster's entry in the kubeconfig.
	cluster *clientcmdapi.Cluster
}

// remotePlace holds the flags that select the operator's context for a remote.
type remotePlace struct{ remoteContext, remoteKubeconfig string }

func (r *remotePlace) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.remoteContext, "remote-context", "", "your kubectl context for the remote")
	cmd.Flags().StringVar(&r.remoteKubeconfig, "remote-kubeconfig", "", "kubeconfig that contains --remote-context (default: $KUBECONFIG, then ~/.kube/config)")
	complete(cmd, "remote-context", completeContexts(&r.remoteKubeconfig))
}

// there returns the place for --remote-context.
func (r *remotePlace) there() (place, error) {
	raw, err := contexts(r.remoteKubeconfig)
	if err != nil {
		return place{}, err
	}
	return placeIn(raw, r.remoteContext)
}

// contextFor returns the operator's context for a remote: --remote-context, or the context with the
// remote's name, or the first with its address. If there is none, it returns a zero place.
func (r *remotePlace) contextFor(remote, server string) (place, error) {
	raw, err := contexts(r.remoteKubeconfig)
	if err != nil {
		return place{}, err
	}
	if r.remoteContext != "" {
		return placeIn(raw, r.remoteContext)
	}
	if raw.Contexts[remote] != nil {
		return placeIn(raw, remote)
	}
	for _, name := range contextsOf(raw) {
		if cluster := raw.Clusters[raw.Contexts[name].Cluster]; cluster != nil && server != "" && cluster.Server == server {
			return placeIn(raw, name)
		}
	}
	return place{}, nil
}

func placeIn(raw *clientcmdapi.Config, context string) (place, error) {
	found := raw.Contexts[context]
	if found == nil || raw.Clusters[found.Cluster] == nil {
		return place{}, fmt.Errorf("your kubeconfig has no context %q; it has: %s", context, cmp.Or(strings.Join(contextsOf(raw), ", "), "none"))
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*raw, context, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return place{}, fmt.Errorf("reading context %q: %w", context, err)
	}
	return place{context, cfg, raw.Clusters[found.Cluster]}, nil
}

// completeContexts completes the names of contexts. kubeconfig is a flag, which it reads late.
func completeContexts(kubeconfig *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return completed(cmd.Context(), func(context.Context) ([]string, error) {
			raw, err := contexts(*kubeconfig)
			if err != nil {
				return nil, err
			}
			return contextsOf(raw), nil
		})
	}
}

// contexts reads a kubeconfig. If it is "", contexts reads the same files as kubectl.
func contexts(kubeconfig string) (*clientcmdapi.Config, error) {
	raw, err := loadingRules(kubeconfig).Load()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return raw, nil
}

func loadingRules(kubeconfig string) *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	return rules
}

// contextsOf returns the sorted names of a kubeconfig's contexts.
func contextsOf(raw *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(raw.Contexts)) }

// caOf returns the PEM-encoded CA of a config, or nil if it uses the system's CAs.
func caOf(cfg *rest.Config) ([]byte, error) {
	if len(cfg.CAData) > 0 || cfg.CAFile == "" {
		return cfg.CAData, nil
	}
	return os.ReadFile(cfg.CAFile)
}
