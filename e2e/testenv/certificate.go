package testenv

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"path/filepath"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Each API server has two certificates. Tests can replace the default certificate. The other one
// stays valid, for clients that send adminAddress as the server name (SNI).
const (
	defaultCertificate = "tls"
	adminCertificate   = "admin"
	adminAddress       = "localhost"
)

// Recertify replaces the API server's certificate with one from the original CA that expires at
// end, and restarts the API server. The admin client is not affected.
func (c *Cluster) Recertify(ctx context.Context, end time.Time) error {
	if err := c.certify(defaultCertificate, c.ca, end); err != nil {
		return err
	}
	c.trusted(c.ca)
	return c.Restart(ctx)
}

// ReplaceCA replaces the API server's certificate with one from a new CA, and restarts the API
// server. New kubeconfigs trust the new CA, and older ones stop working. Recertify undoes this. The
// admin client is not affected.
func (c *Cluster) ReplaceCA(ctx context.Context) error {
	ca, err := NewAuthority(c.Name + " anew")
	if err != nil {
		return err
	}
	if err := c.certify(defaultCertificate, ca, time.Now().Add(longLife)); err != nil {
		return err
	}
	c.trusted(ca)
	return c.Restart(ctx)
}

// CertificateKubeconfig returns an admin kubeconfig with a client certificate that expires at end.
func (c *Cluster) CertificateKubeconfig(namespace string, end time.Time) ([]byte, error) {
	cert, key, err := c.ca.issueUntil(end, admin(), x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	return c.kubeconfig(c.URL, namespace, "admin", &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key})
}

func admin() pkix.Name {
	return pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}
}

// certify writes a serving certificate and its key to the files with the given base name and the
// extensions .crt and .key.
func (c *Cluster) certify(files string, by *Authority, end time.Time) error {
	cert, key, err := by.issueUntil(end, pkix.Name{CommonName: "kube-apiserver"}, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{files + ".crt": cert, files + ".key": key} {
		if err := os.WriteFile(filepath.Join(c.dir, name), data, 0o600); err != nil {
			return fmt.Errorf("writing certificates: %w", err)
		}
	}
	return nil
}

func (c *Cluster) trusted(ca *Authority) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = ca
}

// servingCA returns the certificate of the CA that a kubeconfig must trust.
func (c *Cluster) servingCA() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serving.PEM()
}
