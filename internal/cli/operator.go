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

// operator holds the flags that select the operator's context for the source's cluster, and the user to
// impersonate.
type operator struct{ kubeconfig, context, as string }

// A place is a cluster that one of the operator's contexts leads to.
type place struct {
	context string
	// config contains the operator's credentials, and no paths of certificate files.
	config *rest.Config
	proxy  string // proxy-url; "" if there is none
}

// remotePlace holds the flags that select the operator's context for a remote.
type remotePlace struct {
	remoteContext, remoteKubeconfig string
	global                          *operator
}

func (r *remotePlace) register(cmd *cobra.Command, all *options) {
	r.global = &all.operator
	cmd.Flags().StringVar(&r.remoteContext, "remote-context", "", "your kubectl context for the remote (default: the one named after the remote or, except for join, with its address)")
	cmd.Flags().StringVar(&r.remoteKubeconfig, "remote-kubeconfig", "", "kubeconfig that contains --remote-context (default: --kubeconfig, then $KUBECONFIG, then ~/.kube/config)")
	complete(cmd, "remote-context", completeContexts(&r.remoteKubeconfig))
}

// errNoContext reports that no context belongs to a remote.
var errNoContext = errors.New("your kubeconfig has no context for")

// place returns the cluster that --remote-context selects. Without that flag, it is the cluster of
// the context with the remote's name, or of the first context for the server in stored. If there is
// no such context, the error is errNoContext.
func (r *remotePlace) place(remote string, stored kubeconfig.Config) (place, error) {
	paths := []string{r.global.kubeconfig, ""}
	if r.remoteKubeconfig != "" {
		paths = []string{r.remoteKubeconfig}
	}
	var all []string
	for _, path := range slices.Compact(paths) {
		raw, err := contexts(path)
		if err != nil {
			return place{}, err
		}
		if context := r.find(raw, remote, stored); context != "" {
			return r.placeOf(raw, context)
		}
		all = append(all, contextsOf(raw)...)
	}
	have := cmp.Or(strings.Join(all, ", "), "none")
	if r.remoteContext == "" {
		return place{}, fmt.Errorf("%w %s; it has: %s; specify one with --remote-context", errNoContext, remote, have)
	}
	return place{}, fmt.Errorf("--remote-context: your kubeconfig has no context %q; it has: %s", r.remoteContext, have)
}

// find returns the context in a kubeconfig that [remotePlace.place] selects, or "".
func (r *remotePlace) find(raw *clientcmdapi.Config, remote string, stored kubeconfig.Config) string {
	if name := cmp.Or(r.remoteContext, remote); raw.Contexts[name] != nil {
		return name
	}
	for _, name := range contextsOf(raw) {
		if cluster := raw.Clusters[raw.Contexts[name].Cluster]; r.remoteContext == "" && stored.Server != "" && cluster != nil && sameServer(cluster, stored) {
			return name
		}
	}
	return ""
}

// overrides applies --as to the operator's context.
func (o *operator) overrides() *clientcmd.ConfigOverrides {
	return &clientcmd.ConfigOverrides{AuthInfo: clientcmdapi.AuthInfo{Impersonate: o.as}}
}

// placeOf returns the cluster of a context.
func (r *remotePlace) placeOf(raw *clientcmdapi.Config, context string) (place, error) {
	cluster := raw.Clusters[raw.Contexts[context].Cluster]
	if cluster == nil {
		return place{}, fmt.Errorf("context %q: its cluster is not in the kubeconfig", context)
	}
	if err := checkCluster(cluster); err != nil {
		return place{}, fmt.Errorf("context %q: %w", context, err)
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*raw, context, r.global.overrides(), nil).ClientConfig()
	if err == nil {
		err = rest.LoadTLSFiles(cfg)
	}
	if err != nil {
		return place{}, fmt.Errorf("reading context %q: %w", context, err)
	}
	return place{context, cfg, cluster.ProxyURL}, nil
}

// sameServer reports whether a context's cluster has a remote's address. Several servers can share
// an address if their server names or CAs differ.
func sameServer(cluster *clientcmdapi.Cluster, stored kubeconfig.Config) bool {
	ca := cluster.CertificateAuthorityData
	return cluster.Server == stored.Server && cluster.TLSServerName == stored.TLS.ServerName &&
		(len(ca) == 0 || len(stored.TLS.CAData) == 0 || bytes.Equal(ca, stored.TLS.CAData))
}

// checkCluster rejects addresses in the operator's kubeconfig that would reveal a password.
// Messages show the server's URL, and client-go's error quotes an invalid proxy-url.
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

// completeContexts completes the names of contexts. kubeconfig points to a flag's value, which
// isn't set until completion runs.
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
