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

// Cluster is a cluster with an operator's rights.
type Cluster struct {
	*setup.APIs
	// Context is the name of the operator's context, Server and CA (PEM) are its address.
	Context, Server string
	CA              []byte

	uid string // the UID of kube-system; "" if it may not be read
}

// identify finds out which cluster it is.
func (c *Cluster) identify(ctx context.Context) (err error) {
	if c.uid, err = c.ClusterUID(ctx); err != nil {
		err = fmt.Errorf("reading Namespace kube-system with context %s: %s", c.Context, mirror.Explain(err))
	}
	return err
}

// is reports whether k leads to this cluster: by the UID of kube-system, or that of the
// account that the token names, or, if k has neither, by CA and address.
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
			return false, fmt.Errorf("reading ServiceAccount %s with context %s: %s", token.Account, c.Context, mirror.Explain(err))
		}
	}
	another := len(k.TLS.CAData) > 0 && len(c.CA) > 0 && !bytes.Equal(k.TLS.CAData, c.CA)
	return !another && k.Server == c.Server, nil
}

// storedAs returns the remote, other than the one named, that is stored for this cluster,
// the namespace, and, unless it is "", the account; "" for none. Entries that can't be read
// are skipped.
func (c *Cluster) storedAs(ctx context.Context, entries map[string][]byte, remote, namespace, account string) (string, error) {
	for _, entry := range slices.Sorted(maps.Keys(entries)) {
		name := kubeconfig.RemoteOf(entry)
		k, err := kubeconfig.Decode(entries[entry])
		if err != nil || name == "" || name == remote || cmp.Or(k.Namespace, namespace) != namespace || account != "" && k.Account != account {
			continue
		}
		if same, err := c.is(ctx, k); same || err != nil {
			return name, err
		}
	}
	return "", nil
}
