package node

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

const (
	// serviceAddress is the address of the Service kubernetes. It is the same as the node's
	// address, so the node needs no kube-proxy.
	serviceAddress = "10.0.0.1"
	services       = "10.0.0.0/24"
	pods           = "10.244.0.0/24"
	nodeName       = "node1"
	issuer         = "https://kubernetes.default.svc"
)

// region is one control plane. The node belongs to the first region.
type region struct {
	name    string
	port    int
	dir     string
	ca      *testenv.Authority
	outside net.Listener // nil until the node runs
}

// address returns the API server's address, which pods can use, too.
func (r *region) address() string { return net.JoinHostPort(serviceAddress, strconv.Itoa(r.port)) }

func newRegion(dir, name string, port int) (*region, error) {
	r := &region{name: name, port: port, dir: filepath.Join(dir, name)}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating %s: %w", name, err)
	}
	var err error
	if r.ca, err = testenv.NewAuthority(name); err != nil {
		return nil, err
	}
	r.ca.Addresses = []net.IP{net.ParseIP(serviceAddress), net.IPv4(127, 0, 0, 1)}
	if err := testenv.WriteFile(r.dir, "ca.crt", r.ca.PEM()); err != nil {
		return nil, err
	}
	for file, subject := range map[string]pkix.Name{
		"apiserver": {CommonName: "kube-apiserver"}, "kubelet": {CommonName: nodeName}, "sa": {CommonName: "service-accounts"},
	} {
		if err := r.issue(file, subject, x509.ExtKeyUsageServerAuth); err != nil {
			return nil, err
		}
	}
	for user, subject := range map[string]pkix.Name{
		"admin":      {CommonName: "admin", Organization: []string{"system:masters"}},
		"controller": {CommonName: "system:kube-controller-manager"},
		"scheduler":  {CommonName: "system:kube-scheduler"},
		"node":       {CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
	} {
		if err := r.issue(user, subject, x509.ExtKeyUsageClientAuth); err != nil {
			return nil, err
		}
		text, err := clientcmd.Write(r.userKubeconfig(user))
		if err != nil {
			return nil, fmt.Errorf("writing a kubeconfig: %w", err)
		}
		if err := testenv.WriteFile(r.dir, user+".kubeconfig", text); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *region) file(name string) string { return filepath.Join(r.dir, name) }

func (r *region) issue(file string, subject pkix.Name, usage x509.ExtKeyUsage) error {
	cert, key, err := r.ca.Issue(subject, usage)
	if err != nil {
		return err
	}
	if err := testenv.WriteFile(r.dir, file+".crt", cert); err != nil {
		return err
	}
	return testenv.WriteFile(r.dir, file+".key", key)
}

// userKubeconfig returns a kubeconfig for the region with a client certificate for user.
func (r *region) userKubeconfig(user string) clientcmdapi.Config {
	return r.kubeconfig(r.address(), "", r.name+"-"+user, clientcmdapi.AuthInfo{ClientCertificate: r.file(user + ".crt"), ClientKey: r.file(user + ".key")})
}

// tokenKubeconfig returns a kubeconfig for the region with the given address, namespace, and token.
func (r *region) tokenKubeconfig(address, namespace, token string) ([]byte, error) {
	return clientcmd.Write(r.kubeconfig(address, namespace, r.name, clientcmdapi.AuthInfo{Token: token}))
}

func (r *region) kubeconfig(address, namespace, user string, credentials clientcmdapi.AuthInfo) clientcmdapi.Config {
	return clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{r.name: {Server: "https://" + address, CertificateAuthorityData: r.ca.PEM()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: &credentials},
		Contexts:       map[string]*clientcmdapi.Context{r.name: {Cluster: r.name, AuthInfo: user, Namespace: namespace}},
		CurrentContext: r.name,
	}
}

// apiserver returns the program that runs the region's API server. All regions share one etcd. Only
// the first has a controller that creates default ServiceAccounts.
func (r *region) apiserver(path string, withNode bool) program {
	args := []string{
		path, "--bind-address=0.0.0.0", "--advertise-address=" + serviceAddress, "--secure-port=" + strconv.Itoa(r.port), "--cert-dir=" + r.dir,
		"--tls-cert-file=" + r.file("apiserver.crt"), "--tls-private-key-file=" + r.file("apiserver.key"), "--client-ca-file=" + r.file("ca.crt"),
		"--etcd-servers=http://127.0.0.1:2379", "--etcd-prefix=/" + r.name, "--etcd-compaction-interval=0",
		"--service-account-issuer=" + issuer, "--service-account-key-file=" + r.file("sa.key"), "--service-account-signing-key-file=" + r.file("sa.key"),
		"--service-cluster-ip-range=" + services, "--endpoint-reconciler-type=none", "--allow-privileged=true", "--profiling=false",
	}
	if withNode {
		args = append(args, "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--kubelet-preferred-address-types=InternalIP",
			"--kubelet-client-certificate="+r.file("admin.crt"), "--kubelet-client-key="+r.file("admin.key"), "--kubelet-certificate-authority="+r.file("ca.crt"))
	} else {
		args = append(args, "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount")
	}
	return program{Name: "apiserver-" + r.name, Args: args}
}
