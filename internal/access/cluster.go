package access

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// A Cluster is a cluster that fernetcast accesses with an operator's permissions.
type Cluster struct {
	*setup.APIs
	// Context is the name of the operator's kubectl context.
	Context string

	uid string // the UID of kube-system; "" if the operator may not read it
}

// identify reads the UID of kube-system. If the read is forbidden, the UID stays empty.
func (c *Cluster) identify(ctx context.Context) (err error) {
	if c.uid, err = c.ClusterUID(ctx); err != nil {
		err = fmt.Errorf("reading Namespace kube-system with context %s: %s", c.Context, mirror.Explain(err))
	}
	return err
}

// unidentified returns a warning if identify may not read the UID, or "".
func (c *Cluster) unidentified() string {
	if c.uid != "" {
		return ""
	}
	return fmt.Sprintf("Warning: context %s may not read Namespace kube-system, so only the token, the address, and the CA identify the cluster.", c.Context)
}

// is reports whether k leads to this cluster. It compares the UID of kube-system or, if k or the
// cluster lacks it, the UID of the account in the token. Without either, it compares the address, the
// server name, and the CA.
func (c *Cluster) is(ctx context.Context, k kubeconfig.Config) (bool, error) {
	if k.Cluster != "" && c.uid != "" {
		return k.Cluster == c.uid, nil
	}
	token := kube.ReadToken(k.Token)
	if token.AccountUID != "" && validation.IsDNS1123Label(token.Namespace) == nil && validation.IsDNS1123Subdomain(token.Account) == nil {
		account, err := c.Core.ServiceAccounts(token.Namespace).Get(ctx, token.Account, metav1.GetOptions{})
		switch {
		case err == nil:
			return string(account.UID) == token.AccountUID, nil
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
			return false, fmt.Errorf("reading ServiceAccount %s with context %s: %s", mirror.Name(token.Account), c.Context, mirror.Explain(err))
		}
	}
	ca := c.Config.CAData
	another := len(k.TLS.CAData) > 0 && len(ca) > 0 && !bytes.Equal(k.TLS.CAData, ca)
	return !another && k.Server == c.Config.Host && k.TLS.ServerName == c.Config.ServerName, nil
}

// confirms reports whether k can reach only this cluster, even if an attacker wrote k. k must have
// the cluster's server name, and its CA or, if the system's CAs verify the server, its address. If
// k contains a UID, that must match, too.
func (c *Cluster) confirms(k kubeconfig.Config) bool {
	ca := c.Config.CAData
	return bytes.Equal(bytes.TrimSpace(k.TLS.CAData), bytes.TrimSpace(ca)) && (len(ca) > 0 || k.Server == c.Config.Host) &&
		k.TLS.ServerName == c.Config.ServerName && (k.Cluster == "" || c.uid == "" || k.Cluster == c.uid)
}

// storedAs returns the name of another remote that is stored for the same cluster and namespace, or
// "". Unless account is "", the other remote must also use that account. Invalid entries are
// skipped.
func (c *Cluster) storedAs(ctx context.Context, entries map[string][]byte, remote, namespace, account string) (string, error) {
	for _, entry := range slices.Sorted(maps.Keys(entries)) {
		name := kubeconfig.RemoteOf(entry)
		k, err := kubeconfig.Parse(entries[entry], true)
		if err != nil || name == "" || name == remote || cmp.Or(k.Namespace, namespace) != namespace || account != "" && k.Account != account {
			continue
		}
		if same, err := c.is(ctx, k); same || err != nil {
			return name, err
		}
	}
	return "", nil
}
