package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// place is a cluster that the operator has a context of.
type place struct {
	context string
	// config has the operator's own credentials.
	config *rest.Config
	// cluster is where it is, as the kubeconfig says.
	cluster *clientcmdapi.Cluster
}

// contexts reads a kubeconfig, or, with "", those that kubectl reads.
func contexts(kubeconfig string) (*clientcmdapi.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	raw, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	return raw, nil
}

// wayTo is the operator's to a remote: the context that is named, else the one of the
// remote's name, else one that leads to its address. It is zero where there is none.
func wayTo(kubeconfig, context, remote, server string) (place, error) {
	raw, err := contexts(kubeconfig)
	if err != nil {
		return place{}, err
	}
	if context == "" && raw.Contexts[remote] != nil {
		context = remote
	}
	if context != "" {
		return placeIn(raw, context)
	}
	for _, name := range contextsOf(raw) {
		if cluster := raw.Clusters[raw.Contexts[name].Cluster]; cluster != nil && server != "" && cluster.Server == server {
			return placeIn(raw, name)
		}
	}
	return place{}, nil
}

// placeOf finds a context in a kubeconfig, or, with "", in those that kubectl reads.
func placeOf(kubeconfig, context string) (place, error) {
	raw, err := contexts(kubeconfig)
	if err != nil {
		return place{}, err
	}
	return placeIn(raw, context)
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

// contextsOf are the names of a kubeconfig's contexts, in order.
func contextsOf(raw *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(raw.Contexts)) }

// stored is what the source's cluster keeps of the remotes, for the commands that
// write it with an operator's rights.
type stored struct {
	home    *rest.Config
	apis    *setup.APIs
	entries access.Entries // kubeconfigs
	tokens  access.Entries // those that renew --self keeps
}

// stored finds it. Nothing is sent.
func (o *options) stored() (s stored, err error) {
	name, err := o.entries()
	if err != nil {
		return s, err
	}
	if s.home, err = o.sourceConfig(); err != nil {
		return s, fmt.Errorf("finding the source's cluster: %w", err)
	}
	if s.apis, err = o.apis(s.home); err != nil {
		return s, fmt.Errorf("connecting to the source's cluster: %w", err)
	}
	secrets := s.apis.Core.Secrets(o.namespace)
	s.entries, s.tokens = access.NewEntries(secrets, name), access.NewEntries(secrets, tokensOf(name))
	return s, nil
}

// apis makes the clients of a cluster for the operator's commands. Nothing is sent.
func (o *options) apis(cfg *rest.Config) (*setup.APIs, error) {
	return setup.NewAPIs(cfg, kube.Options{UserAgent: userAgent(), Timeout: o.requestTimeout})
}
