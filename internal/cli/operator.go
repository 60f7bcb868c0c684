package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/kube"
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

// placeOf finds a context in a kubeconfig, or, with "", in those that kubectl reads.
func placeOf(kubeconfig, context string) (place, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	raw, err := rules.Load()
	if err != nil {
		return place{}, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	found := raw.Contexts[context]
	if found == nil || raw.Clusters[found.Cluster] == nil {
		return place{}, fmt.Errorf("there is no context %q; there are: %s", context, cmp.Or(strings.Join(contextsOf(raw), ", "), "none"))
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*raw, context, &clientcmd.ConfigOverrides{}, rules).ClientConfig()
	if err != nil {
		return place{}, fmt.Errorf("reading context %q: %w", context, err)
	}
	return place{context, cfg, raw.Clusters[found.Cluster]}, nil
}

// contextsOf are the names of a kubeconfig's contexts, in order.
func contextsOf(raw *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(raw.Contexts)) }

// apis makes the clients of a cluster for the operator's commands. Nothing is sent.
func (o *options) apis(cfg *rest.Config) (*kube.APIs, error) {
	return kube.NewAPIs(cfg, kube.Options{UserAgent: userAgent(), Timeout: o.requestTimeout})
}
