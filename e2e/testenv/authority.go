package testenv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	// longLife is the default lifetime of a certificate.
	longLife = 30 * 24 * time.Hour
	// validBefore is how far certificates are backdated, for programs whose clock is slow.
	validBefore = 24 * time.Hour
)

// Authority is the certificate authority of one cluster.
type Authority struct {
	// Addresses are IP addresses, in addition to loopback, for which server certificates are valid.
	Addresses []net.IP
	key       crypto.Signer
	cert      *x509.Certificate
}

// NewAuthority returns an authority with a new key.
func NewAuthority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("creating a CA key: %w", err)
	}
	cert, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: name, NotBefore: time.Now().Add(-validBefore)}, key)
	if err != nil {
		return nil, fmt.Errorf("creating a CA certificate: %w", err)
	}
	return &Authority{key: key, cert: cert}, nil
}

// PEM returns the CA certificate in PEM format.
func (a *Authority) PEM() []byte { return certificatePEM(a.cert.Raw) }

// Issue creates a key and a certificate, either for a server at the authority's addresses or for a
// client named subject.
func (a *Authority) Issue(subject pkix.Name, usage x509.ExtKeyUsage) (cert, key []byte, err error) {
	return a.issueUntil(time.Now().Add(longLife), subject, usage)
}

// issueUntil is like Issue, but the certificate expires at end, which can be in the past.
func (a *Authority) issueUntil(end time.Time, subject pkix.Name, usage x509.ExtKeyUsage) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("creating a key for %s: %w", subject.CommonName, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, nil, fmt.Errorf("creating a serial number for %s: %w", subject.CommonName, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-validBefore),
		NotAfter:     end,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
	}
	if usage == x509.ExtKeyUsageServerAuth {
		template.DNSNames = []string{"localhost", "kubernetes.default.svc"}
		template.IPAddresses = append([]net.IP{net.IPv4(127, 0, 0, 1)}, a.Addresses...)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("creating a certificate for %s: %w", subject.CommonName, err)
	}
	key, err = keyutil.MarshalPrivateKeyToPEM(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the key of %s: %w", subject.CommonName, err)
	}
	return certificatePEM(raw), key, nil
}

func certificatePEM(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: raw})
}
