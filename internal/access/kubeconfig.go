package access

import (
	"cmp"
	"encoding/json"
	"errors"

	"github.com/fernetcast/fernetcast/internal/kube"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig is what a remote's kubeconfig says.
type Kubeconfig struct {
	// Remote is its name there, Account the user's.
	Remote, Account string
	// Server is where the main's pods reach the API server.
	Server string
	// CA is PEM; empty: the system's own.
	CA []byte
	// ServerName and ProxyURL are "" for none.
	ServerName, ProxyURL string
	Namespace            string
	// Cluster is the UID of its Namespace kube-system; "" if it is not known.
	Cluster string
	// Token is "" where the user has none; Keyless says that it has no certificate either.
	Token   string
	Keyless bool
}

// clusterExtension is the name of the extension that keeps which cluster it is. Every
// reader of a kubeconfig passes over extensions that it does not know.
const clusterExtension = "fernetcast/cluster"

type clusterOf struct {
	UID string `json:"uid"`
}

// Encode writes it as a file.
func (k Kubeconfig) Encode() ([]byte, error) {
	cluster := &clientcmdapi.Cluster{Server: k.Server, CertificateAuthorityData: k.CA, TLSServerName: k.ServerName, ProxyURL: k.ProxyURL}
	if k.Cluster != "" {
		raw, err := json.Marshal(clusterOf{k.Cluster})
		if err != nil {
			return nil, err
		}
		cluster.Extensions = map[string]runtime.Object{clusterExtension: &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}}
	}
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{k.Remote: cluster},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{k.Account: {Token: k.Token}},
		Contexts:       map[string]*clientcmdapi.Context{k.Remote: {Cluster: k.Remote, AuthInfo: k.Account, Namespace: k.Namespace}},
		CurrentContext: k.Remote,
	})
}

// errForm is in place of the parser's own, which could quote a token.
var errForm = errors.New("it is not the YAML of a kubeconfig whose current-context names a cluster and a user")

// load reads a kubeconfig and the current context's cluster and user.
func load(kubeconfig []byte) (*clientcmdapi.Config, *clientcmdapi.Context, error) {
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, nil, errForm
	}
	current := cfg.Contexts[cfg.CurrentContext]
	if current == nil || cfg.AuthInfos[current.AuthInfo] == nil || cfg.Clusters[current.Cluster] == nil {
		return nil, nil, errForm
	}
	return cfg, current, nil
}

// Decode reads what Encode has written. Account is the one that the token names, else
// the user's name in the file.
func Decode(kubeconfig []byte) (Kubeconfig, error) {
	cfg, current, err := load(kubeconfig)
	if err != nil {
		return Kubeconfig{}, err
	}
	cluster, user := cfg.Clusters[current.Cluster], cfg.AuthInfos[current.AuthInfo]
	var of clusterOf
	if kept, ok := cluster.Extensions[clusterExtension].(*runtime.Unknown); ok {
		_ = json.Unmarshal(kept.Raw, &of) // one that cannot be read tells nothing
	}
	return Kubeconfig{
		Cluster: of.UID,
		Remote:  cfg.CurrentContext, Account: cmp.Or(kube.ReadToken(user.Token).Account, current.AuthInfo), Namespace: current.Namespace,
		Server: cluster.Server, CA: cluster.CertificateAuthorityData, ServerName: cluster.TLSServerName, ProxyURL: cluster.ProxyURL,
		Token: user.Token, Keyless: user.Token == "" && len(user.ClientCertificateData) == 0,
	}, nil
}

// WithToken is a kubeconfig with another token of its current context's user. All
// else stays.
func WithToken(kubeconfig []byte, token string) ([]byte, error) {
	cfg, current, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.AuthInfos[current.AuthInfo].Token = token
	return clientcmd.Write(*cfg)
}
