// Package kubeconfig reads and writes the kubeconfig of one remote: the address of its API server,
// and the credentials for it.
//
// It sends no requests and opens no files.
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

// A Config is the current context of a kubeconfig. A field is empty if the kubeconfig doesn't set
// it.
type Config struct {
	// Remote is the name of the context. Account is the ServiceAccount in the token, or the user's
	// name if there is none.
	Remote, Account string
	Namespace       string
	// Server is the API server's URL, as pods in the main region reach it.
	Server, ProxyURL string
	// TLS has no file names and always verifies the server. If it has no CA, the system's CAs are
	// used.
	TLS   rest.TLSClientConfig
	Token string
	// Cluster is the UID of the cluster's Namespace kube-system. Parse leaves it empty.
	Cluster string
}

// Keyless reports whether the user has neither a token nor a certificate. Such a remote accepts
// one-hour tokens issued by the main region (workload identity).
func (c Config) Keyless() bool { return c.Token == "" && len(c.TLS.CertData) == 0 }

// ClientConfig returns the client configuration for a Config from [Parse].
func (c Config) ClientConfig() *rest.Config {
	cfg := &rest.Config{
		Host: c.Server, BearerToken: c.Token, TLSClientConfig: c.TLS,
		// Always set, because client-go caches transports without a Proxy function forever.
		Proxy: http.ProxyFromEnvironment,
	}
	if c.ProxyURL != "" {
		cfg.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(c.ProxyURL) }
	}
	return cfg
}

// clusterExtension is the name of the extension that stores the cluster's UID. Readers of
// kubeconfigs ignore extensions that they don't know.
const clusterExtension = "fernetcast/cluster"

type clusterOf struct {
	UID string `json:"uid"`
}

// Encode returns a kubeconfig with only this context, as YAML.
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

// errForm replaces the parser's error, which could quote a token.
var errForm = errors.New("it is not the YAML of a kubeconfig whose current-context names a cluster and a user")

// load returns a kubeconfig and its current context, whose cluster and user exist.
func load(kubeconfig []byte) (*clientcmdapi.Config, *clientcmdapi.Context, error) {
	if err := costly(kubeconfig); err != nil {
		return nil, nil, err
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

// Decode reads a kubeconfig as kubectl does, but rejects YAML aliases. It accepts fields and values
// that [Parse] rejects. Use the result to identify the stored cluster and account. Never connect with
// it, because it can contain unsafe values.
func Decode(kubeconfig []byte) (Config, error) {
	cfg, current, err := load(kubeconfig)
	if err != nil {
		return Config{}, err
	}
	cluster, user := cfg.Clusters[current.Cluster], cfg.AuthInfos[current.AuthInfo]
	var of clusterOf
	if kept, ok := cluster.Extensions[clusterExtension].(*runtime.Unknown); ok {
		_ = json.Unmarshal(kept.Raw, &of) // an unreadable UID counts as absent
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

// WithToken returns a kubeconfig that has this token for the user of its current context and is
// otherwise unchanged.
func WithToken(kubeconfig []byte, token string) ([]byte, error) {
	cfg, current, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.AuthInfos[current.AuthInfo].Token = token
	return clientcmd.Write(*cfg)
}
