package access

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// LocalAddress is the error for a loopback address.
type LocalAddress struct{ error }

// CheckAddress rejects a server URL that isn't https or that works only on this machine or in the
// remote's own cluster: a loopback address, such as a tunnel's (a [LocalAddress] error), an
// unspecified or link-local address, or a Service. It resolves names on this machine, and accepts
// those that don't resolve.
func CheckAddress(ctx context.Context, server string) error {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Hostname() == "":
		return fmt.Errorf("%q is not an address like https://host:port", mirror.Printable(server))
	case u.Scheme != "https":
		return fmt.Errorf("%s is not https: keys and tokens would be sent unencrypted", mirror.Printable(server))
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".svc.cluster.local") {
		return fmt.Errorf("%s is a Service of that cluster, which no other cluster can reach", server)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil { // the main region may resolve it, and the next check tries to connect
		return nil
	}
	for _, ip := range ips {
		ip = ip.Unmap()
		switch err := fmt.Errorf("%s is %s (%s), which only this machine can reach", server, onlyHere(ip), ip); {
		case ip.IsLoopback():
			return LocalAddress{err}
		case onlyHere(ip) != "":
			return err
		}
	}
	return nil
}

func onlyHere(ip netip.Addr) string {
	switch {
	case ip.IsLoopback():
		return "a loopback address"
	case ip.IsUnspecified():
		return "a placeholder"
	case ip.IsLinkLocalUnicast():
		return "a link-local address"
	}
	return ""
}

// OwnAddress returns the API server URL that a cluster publishes for joining nodes, in kubeadm's
// ConfigMap cluster-info. It returns an error if the cluster publishes none.
func OwnAddress(ctx context.Context, apis *setup.APIs) (string, error) {
	info, err := apis.Core.ConfigMaps(metav1.NamespacePublic).Get(ctx, "cluster-info", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	cfg, err := clientcmd.Load([]byte(info.Data["kubeconfig"]))
	if err != nil {
		return "", errors.New("its cluster-info contains no kubeconfig")
	}
	for _, cluster := range cfg.Clusters {
		if cluster.Server != "" {
			return mirror.Printable(cluster.Server), nil
		}
	}
	return "", errors.New("its cluster-info contains no server")
}
