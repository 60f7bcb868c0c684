// Package kubeconfig reads and writes the kubeconfig of one remote: the address of its API
// server, and the credentials to sign in there.
//
// It neither sends a request nor opens a file.
package kubeconfig

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/fernetcast/fernetcast/internal/kube"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Config is the current context of a kubeconfig. A field that the kubeconfig doesn't set
// is empty.
type Config struct {
	// Remote is the name of the context. Account is the ServiceAccount that the token
	// names, or else the name of the user.
	Remote, Account string
	Namespace       string
	// Server is the URL of the API server, as the main's pods reach it.
	Server, ProxyURL string
	// TLS has no file names, and always verifies. Without a CA, the system's CAs count.
	TLS   rest.TLSClientConfig
	Token string
	// Cluster is the UID of its Namespace kube-system. Parse leaves it empty.
	Cluster string
}

// Keyless reports whether the user has neither a token nor a certificate, so that a
// one-hour token of the main signs in.
func (c Config) Keyless() bool { return c.Token == "" && len(c.TLS.CertData) == 0 }

// ClientConfig returns the configuration of a client of a parsed Config.
func (c Config) ClientConfig() *rest.Config {
	cfg := &rest.Config{
		Host: c.Server, BearerToken: c.Token, TLSClientConfig: c.TLS,
		// Always set: client-go keeps the transports of configs without one forever.
		Proxy: http.ProxyFromEnvironment,
	}
	if c.ProxyURL != "" {
		cfg.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(c.ProxyURL) }
	}
	return cfg
}

// clusterExtension is the name of the extension that keeps which cluster it is. Every
// reader of a kubeconfig passes over extensions that it does not know.
const clusterExtension = "fernetcast/cluster"

type clusterOf struct {
	UID string `json:"uid"`
}

// Encode returns the YAML of a kubeconfig with this one context.
func (c Config) Encode() ([]byte, error) {
	cluster := &clientcmdapi.Cluster{Server: c.Server, CertificateAuthorityData: c.TLS.CAData, TLSServerName: c.TLS.ServerName, ProxyURL: c.ProxyURL}
	if c.Cluster != "" {
		raw, err := json.Marshal(clusterOf{c.Cluster})
		if err != nil {
			return nil, err
		}
		cluster.Extensions = map[string]runtime.Object{clusterExtension: &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}}
	}
	user := &clientcmdapi.AuthInfo{Token: c.Token, ClientCertificateData: c.TLS.CertData, ClientKeyData: c.TLS.KeyData}
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{c.Remote: cluster},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{c.Account: user},
		Contexts:       map[string]*clientcmdapi.Context{c.Remote: {Cluster: c.Remote, AuthInfo: c.Account, Namespace: c.Namespace}},
		CurrentContext: c.Remote,
	})
}

// errForm is in place of the parser's own, which could quote a token.
var errForm = errors.New("it is not the YAML of a kubeconfig whose current-context names a cluster and a user")

// load reads a kubeconfig and the current context's cluster and user.
func load(kubeconfig []byte) (*clientcmdapi.Config, *clientcmdapi.Context, error) {
	if aliased(kubeconfig) {
		return nil, nil, errAliases
	}
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

// Decode reads a kubeconfig as kubectl does, including one that [Parse] refuses. It tells
// which cluster and account are stored. Never connect with the result.
func Decode(kubeconfig []byte) (Config, error) {
	cfg, current, err := load(kubeconfig)
	if err != nil {
		return Config{}, err
	}
	cluster, user := cfg.Clusters[current.Cluster], cfg.AuthInfos[current.AuthInfo]
	var of clusterOf
	if kept, ok := cluster.Extensions[clusterExtension].(*runtime.Unknown); ok {
		_ = json.Unmarshal(kept.Raw, &of) // one that cannot be read tells nothing
	}
	return Config{
		Remote: cfg.CurrentContext, Account: accountOf(user.Token, current.AuthInfo), Namespace: current.Namespace,
		Server: cluster.Server, ProxyURL: cluster.ProxyURL, Token: user.Token, Cluster: of.UID,
		TLS: rest.TLSClientConfig{
			ServerName: cluster.TLSServerName, CAData: cluster.CertificateAuthorityData,
			CertData: user.ClientCertificateData, KeyData: user.ClientKeyData,
		},
	}, nil
}

func accountOf(token, user string) string { return cmp.Or(kube.ReadToken(token).Account, user) }

// WithToken returns a kubeconfig with another token for the user of its current context,
// and everything else unchanged.
func WithToken(kubeconfig []byte, token string) ([]byte, error) {
	cfg, current, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.AuthInfos[current.AuthInfo].Token = token
	return clientcmd.Write(*cfg)
}
