package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// A place is a cluster that one of the operator's contexts leads to.
type place struct {
	context string
	// config contains the operator's credentials, and no paths of certificate files.
	config *rest.Config
	proxy  string // proxy-url; "" if there is none
}

// remotePlace holds the flags that select the operator's context for a remote.
type remotePlace struct{ remoteContext, remoteKubeconfig string }

func (r *remotePlace) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.remoteContext, "remote-context", "", "your kubectl context for the remote")
	cmd.Flags().StringVar(&r.remoteKubeconfig, "remote-kubeconfig", "", "kubeconfig that contains --remote-context (default: $KUBECONFIG, then ~/.kube/config)")
	complete(cmd, "remote-context", completeContexts(&r.remoteKubeconfig))
}

// place returns the cluster that --remote-context selects. Without that flag, it is the cluster of the
// context with the remote's name, or of the first context for the server in stored, or zero if there is
// none.
func (r *remotePlace) place(remote string, stored kubeconfig.Config) (place, error) {
	raw, err := contexts(r.remoteKubeconfig)
	if err != nil {
		return place{}, err
	}
	context := r.remoteContext
	if context == "" && raw.Contexts[remote] != nil {
		context = remote
	}
	for _, name := range contextsOf(raw) {
		if cluster := raw.Clusters[raw.Contexts[name].Cluster]; context == "" && cluster != nil && sameServer(cluster, stored) {
			context = name
		}
	}
	if context == "" && remote != "" {
		return place{}, nil
	}
	found := raw.Contexts[context]
	if found == nil || raw.Clusters[found.Cluster] == nil {
		return place{}, fmt.Errorf("--remote-context: your kubeconfig has no context %q; it has: %s", context, cmp.Or(strings.Join(contextsOf(raw), ", "), "none"))
	}
	if err := checkCluster(raw.Clusters[found.Cluster]); err != nil {
		return place{}, fmt.Errorf("context %q: %w", context, err)
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*raw, context, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err == nil {
		err = rest.LoadTLSFiles(cfg)
	}
	if err != nil {
		return place{}, fmt.Errorf("reading context %q: %w", context, err)
	}
	return place{context, cfg, raw.Clusters[found.Cluster].ProxyURL}, nil
}

// sameServer reports whether a context's cluster has a remote's address. Several servers can share one:
// their names or CAs differ.
func sameServer(cluster *clientcmdapi.Cluster, stored kubeconfig.Config) bool {
	ca := cluster.CertificateAuthorityData
	return cluster.Server == stored.Server && cluster.TLSServerName == stored.TLS.ServerName &&
		(len(ca) == 0 || len(stored.TLS.CAData) == 0 || bytes.Equal(ca, stored.TLS.CAData))
}

// checkCluster rejects addresses in the operator's kubeconfig that would reveal a password: a
// server with one, which messages show, and an invalid proxy-url, which client-go's error quotes.
func checkCluster(cluster *clientcmdapi.Cluster) error {
	if strings.ContainsAny(cluster.Server, "@?#") {
		return errors.New("its server contains more than a host, a port, and a path; credentials belong in a token or a certificate")
	}
	proxy, err := url.Parse(cluster.ProxyURL)
	if err != nil || cluster.ProxyURL != "" && !slices.Contains([]string{"http", "https", "socks5"}, proxy.Scheme) {
		return errors.New("its proxy-url does not start with http://, https://, or socks5://, or is not a URL")
	}
	return nil
}

// completeContexts completes the names of contexts. kubeconfig is a flag, which it reads late.
func completeContexts(kubeconfig *string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		raw, err := contexts(*kubeconfig)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return contextsOf(raw), cobra.ShellCompDirectiveNoFileComp
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
