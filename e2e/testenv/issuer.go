package testenv

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Issue sets the issuer of new ServiceAccount tokens. It takes effect at the next Restart. The
// default issuer is the API server's address.
func (c *Cluster) Issue(issuer string) { c.issuer = issuer }

// Issuer returns the issuer of the cluster's ServiceAccount tokens.
func (c *Cluster) Issuer() string { return c.issuer }

// Announce creates a second key for ServiceAccount tokens. From the next Restart on, the API server
// publishes the key and accepts tokens that are signed with it.
func (c *Cluster) Announce() error { return c.newKey(nextKey) }

// Sign makes the API server sign ServiceAccount tokens with the announced key, or with a new key if
// none is announced. It takes effect at the next Restart. If keep is true, the API server still
// publishes the previous key and accepts its tokens.
func (c *Cluster) Sign(keep bool) error {
	in := func(name string) string { return filepath.Join(c.dir, name) }
	if _, err := os.Stat(in(nextKey)); errors.Is(err, fs.ErrNotExist) {
		if err := c.Announce(); err != nil {
			return err
		}
	}
	before := os.Remove
	if keep {
		before = func(path string) error { return os.Rename(path, in(previousKey)) }
	}
	if err := before(in(signingKey)); err != nil {
		return err
	}
	return os.Rename(in(nextKey), in(signingKey))
}

// newKey writes a new key for ServiceAccount tokens.
func (c *Cluster) newKey(name string) error {
	_, key, err := c.ca.Issue(pkix.Name{CommonName: "service-accounts"}, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, name), key, 0o600)
}

// Trust sets the API server's AuthenticationConfiguration, in YAML. The first one takes effect at
// the next Restart, and later ones within a few seconds.
func (c *Cluster) Trust(config []byte) error { return WriteFile(c.dir, authenticationConfig, config) }

// Request requests a token for a ServiceAccount from the API server, and creates the account if it
// is missing. Without audiences, the token is for the API server itself.
func (c *Cluster) Request(ctx context.Context, account metav1.ObjectMeta, life time.Duration, audiences ...string) (string, error) {
	accounts := c.client.CoreV1().ServiceAccounts(account.Namespace)
	if _, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: account}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: ptr.To(int64(life / time.Second))}}
	for {
		issued, err := accounts.CreateToken(ctx, account.Name, request, metav1.CreateOptions{})
		switch {
		case err == nil:
			return issued.Status.Token, nil
		case !strings.Contains(err.Error(), "no params found"):
			return "", err
		}
		// The parameters of manifests/remote/self-renew are ServiceAccounts. In a new namespace, the
		// API server hasn't seen the first one yet.
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return "", err
		}
	}
}
