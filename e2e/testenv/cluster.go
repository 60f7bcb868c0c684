package testenv

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	signingKey = "sa.key"
	// nextKey and previousKey are the files of additional ServiceAccount keys. The API server
	// accepts tokens that were signed with them.
	nextKey              = "sa-next.key"
	previousKey          = "sa-before.key"
	authenticationConfig = "authentication.yaml"
)

// Cluster is a kube-apiserver with its own CA, RBAC, ServiceAccount tokens, and Pod Security
// admission. Several clusters can share an etcd. No controllers run except those that
// StartControllers starts. So by default, a deleted namespace stays Terminating, and owner
// references have no effect.
type Cluster struct {
	// Name is the name of the region.
	Name string
	// URL is the API server's address. Restart doesn't change it.
	URL string
	// Etcd stores the data. Several clusters can share it.
	Etcd *Etcd

	env         *Env
	ca          *Authority
	cert, key   []byte // the admin's client certificate
	dir, binary string
	config      *rest.Config
	client      *kubernetes.Clientset
	issuer      string

	mu      sync.Mutex
	serving *Authority // CA of the default serving certificate
	process *Process
}

func (g *Env) startCluster(ctx context.Context, name string, etcd *Etcd) (*Cluster, error) {
	c := &Cluster{Name: name, Etcd: etcd, env: g, binary: g.assets[apiserver]}
	if err := c.prepare(); err != nil {
		return nil, fmt.Errorf("preparing cluster %s: %w", name, err)
	}
	g.onClose(c.Kill)
	if err := c.Restart(ctx); err != nil {
		return nil, fmt.Errorf("starting cluster %s: %w", name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.clusters[name] != nil {
		return nil, fmt.Errorf("starting cluster %s: the name is already in use", name)
	}
	g.clusters[name] = c
	return c, nil
}

// prepare creates the address, the certificates, and the admin client.
func (c *Cluster) prepare() error {
	address, err := c.env.Address()
	if err != nil {
		return err
	}
	c.URL = "https://" + address
	c.issuer = c.URL
	if c.dir, err = c.env.Directory("apiserver-" + c.Name + "-"); err != nil {
		return err
	}
	if c.ca, err = NewAuthority(c.Name); err != nil {
		return err
	}
	c.trusted(c.ca)
	for _, files := range []string{defaultCertificate, adminCertificate} {
		if err := c.certify(files, c.ca, time.Now().Add(longLife)); err != nil {
			return err
		}
	}
	if err := c.newKey(signingKey); err != nil {
		return err
	}
	if c.cert, c.key, err = c.ca.Issue(admin(), x509.ExtKeyUsageClientAuth); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "ca.crt"), c.ca.PEM(), 0o600); err != nil {
		return fmt.Errorf("writing certificates: %w", err)
	}
	c.config = &rest.Config{
		Host:            c.URL,
		TLSClientConfig: rest.TLSClientConfig{ServerName: adminAddress, CAData: c.ca.PEM(), CertData: c.cert, KeyData: c.key},
		QPS:             -1,
	}
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return fmt.Errorf("creating the admin's client: %w", err)
	}
	return nil
}

// Kill kills the API server, as if it crashed, and waits until it has exited.
func (c *Cluster) Kill() {
	if p := c.Process(); p != nil {
		p.Kill()
	}
}

// Restart kills the API server if it is running, and starts it with the same address and data. It
// returns when the API server is ready. Watches that resume from an older version may get 410,
// because the API server's watch cache is new.
func (c *Cluster) Restart(ctx context.Context) error {
	c.Kill()
	address, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	in := func(name string) string { return filepath.Join(c.dir, name) }
	var more []string
	for name, flag := range map[string]string{nextKey: "--service-account-key-file=", previousKey: "--service-account-key-file=", authenticationConfig: "--authentication-config="} {
		if _, err := os.Stat(in(name)); err == nil {
			more = append(more, flag+in(name))
		}
	}
	p, err := startProcess(exec.Command(c.binary, append(more,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+address.Port(),
		"--cert-dir="+c.dir, "--tls-cert-file="+in(defaultCertificate+".crt"), "--tls-private-key-file="+in(defaultCertificate+".key"),
		"--tls-sni-cert-key="+in(adminCertificate+".crt")+","+in(adminCertificate+".key")+":"+adminAddress,
		"--client-ca-file="+in("ca.crt"),
		"--etcd-servers="+c.Etcd.url, "--etcd-prefix=/"+c.Name,
		"--etcd-compaction-interval=0", // clusters on a shared etcd would compact each other's history
		"--authorization-mode=RBAC",
		"--service-account-issuer="+c.issuer,
		"--service-account-key-file="+in(signingKey), "--service-account-signing-key-file="+in(signingKey),
		"--disable-admission-plugins=ServiceAccount", // no controller creates the default ServiceAccounts
		"--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none",
		"--allow-privileged=true", "--profiling=false",
	)...), nil, nil)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.process = p
	c.mu.Unlock()
	return awaitServing(ctx, "kube-apiserver", p, func(ctx context.Context) error {
		return c.client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// Freeze makes the API server behave like a hung machine: connections stay open, but nothing
// answers. Thaw ends this.
func (c *Cluster) Freeze() error { return c.Process().Freeze() }

// Thaw resumes a frozen API server.
func (c *Cluster) Thaw() error { return c.Process().Thaw() }

// Process returns the current process of the API server.
func (c *Cluster) Process() *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process
}

// Client returns the admin client. It has all permissions and no rate limit.
func (c *Cluster) Client() kubernetes.Interface { return c.client }

// Config returns a copy of the admin client's configuration.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }
