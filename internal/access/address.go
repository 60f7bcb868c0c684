package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
)

// NewKubeconfig returns a kubeconfig without credentials for the cluster of an operator's context.
// If server is "", NewKubeconfig uses the context's address. proxy becomes the proxy-url, and given
// says whether a flag set proxy. NewKubeconfig returns an error if the main region's pods can't use
// the address or the proxy, and passes say a warning if a flag sets a loopback address.
func NewKubeconfig(ctx context.Context, there Cluster, proxy string, given bool, server string, say func(string)) (kubeconfig.Config, error) {
	cfg := there.Config
	k := kubeconfig.Config{Server: cmp.Or(server, cfg.Host), ProxyURL: proxy, TLS: rest.TLSClientConfig{ServerName: cfg.ServerName, CAData: cfg.CAData}}
	if cfg.Insecure {
		return k, fmt.Errorf("context %s skips TLS verification, so an attacker on the network could obtain the keys; set certificate-authority-data instead", there.Context)
	}
	judge := func(flag string, given bool, err error, fix func() string) error {
		switch {
		case err == nil:
			return nil
		case !given:
			return fmt.Errorf("context %s: %w; %s", there.Context, err, fix())
		case errors.As(err, new(localAddress)):
			say(fmt.Sprintf("Warning: %s: %v", flag, err))
			return nil
		}
		return fmt.Errorf("%s: %w", flag, err)
	}
	err := judge("--server", server != "", checkAddress(ctx, k.Server), func() string {
		return "specify an address that the main region's pods can reach: --server https://HOST:PORT" + hint(ctx, there.APIs)
	})
	if u, parsed := url.Parse(proxy); err == nil && proxy != "" && parsed == nil {
		err = judge("--proxy-url", given, checkHost(ctx, "the proxy "+u.Host, u.Hostname()), func() string {
			return "specify a proxy that the main region's pods can reach with --proxy-url URL, or none with --proxy-url ''"
		})
	}
	return k, err
}

// localAddress is the error for a loopback address.
type localAddress struct{ error }

// checkAddress rejects a server URL that isn't https or that works only on this machine or in the
// remote's own cluster: a loopback address, such as a tunnel's (a [localAddress] error), an
// unspecified or link-local address, or a Service. It resolves names on this machine, and accepts
// those that don't resolve.
func checkAddress(ctx context.Context, server string) error {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Hostname() == "":
		return errors.New("the server is not an address like https://host:port")
	case u.User != nil || strings.ContainsAny(server, "?#"):
		return errors.New("the server's address contains more than a host, a port, and a path; credentials belong in a token or a certificate")
	case u.Scheme != "https":
		return fmt.Errorf("%s is not https: keys and tokens would be sent unencrypted", mirror.Address(server))
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".svc.cluster.local") {
		return fmt.Errorf("%s is a Service of that cluster, which no other cluster can reach", mirror.Address(server))
	}
	return checkHost(ctx, mirror.Address(server), host)
}

// checkHost rejects a host that only this machine can reach. The error quotes address.
func checkHost(ctx context.Context, address, host string) error {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil { // the main region may resolve it, and the next check tries to connect
		return nil
	}
	for _, ip := range ips {
		switch ip = ip.Unmap(); {
		case ip.IsLoopback():
			return localAddress{fmt.Errorf("%s is a loopback address (%s), which only this machine can reach", address, ip)}
		case ip.IsUnspecified(), ip.IsLinkLocalUnicast():
			return fmt.Errorf("%s is a placeholder or a link-local address (%s), which only this machine can reach", address, ip)
		}
	}
	return nil
}

// maxClusterInfo bounds the kubeconfig in cluster-info, in bytes.
const maxClusterInfo = 16 << 10

// hint returns a hint for an error message: the API server URL that a cluster publishes for joining
// nodes, in kubeadm's ConfigMap cluster-info.
func hint(ctx context.Context, apis *setup.APIs) string {
	info, err := apis.Core.ConfigMaps(metav1.NamespacePublic).Get(ctx, "cluster-info", metav1.GetOptions{})
	// kubeadm's kubeconfig is only 2 KiB long. YAML aliases could expand even a short text into a
	// large document.
	if text := info.Data["kubeconfig"]; err == nil && len(text) <= maxClusterInfo && !strings.ContainsAny(text, "&*") {
		cfg, _ := clientcmd.Load([]byte(text))
		for _, cluster := range ptr.Deref(cfg, clientcmdapi.Config{}).Clusters {
			if cluster.Server != "" {
				return " (the cluster's cluster-info contains " + mirror.Address(cluster.Server) + ")"
			}
		}
	}
	return "; the cluster's cluster-info contains no address"
}
