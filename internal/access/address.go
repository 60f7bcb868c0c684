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

// LocalAddress says that an address is a loopback one, of this machine alone.
type LocalAddress struct{ error }

// CheckAddress refuses an address that is good where it was written and nowhere
// else: that of a tunnel or of this machine (a [LocalAddress]), or of a Service in the
// remote's own cluster. A name counts as what it resolves to here.
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
	if err != nil { // the main may resolve it; whether it can be reached is seen next
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

// OwnAddress is the address that a cluster itself tells to who joins it: kubeadm's
// ConfigMap cluster-info. It is "" with the error of a cluster that tells none.
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
