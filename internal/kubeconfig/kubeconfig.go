// Package kubeconfig reads and writes the kubeconfig of one remote: the address of its API server,
// and the credentials for it.
//
// It sends no requests and opens no files.
package kubeconfig

import (
	"encoding/json"
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// A Config is the current context of a kubeconfig. A field is empty if the kubeconfig doesn't set
// it.
type Config struct {
	// Remote is the name of the context. Account is the ServiceAccount that the token names, or the
	// user's name if the token names none. Neither is verified.
	Remote, Account string
	Namespace       string
	// Server is the API server's URL, as pods in the main region reach it.
	Server, ProxyURL string
	// TLS has no file names and always verifies the server. If it has no CA, the system's CAs are
	// used.
	TLS   rest.TLSClientConfig
	Token string
	// Cluster is the UID of the cluster's Namespace kube-system, as join stored it. It isn't verified.
	Cluster string
}

// Keyless reports whether the user has neither a token nor a certificate. Such a remote accepts
// one-hour tokens issued by the main region (workload identity).
func (c Config) Keyless() bool { return c.Token == "" && len(c.TLS.CertData) == 0 }

// Through returns a phrase that names the proxy without its credentials, or "" if there is no
// proxy.
func (c Config) Through() string {
	if proxy, err := url.Parse(c.ProxyURL); err == nil && c.ProxyURL != "" {
		return ", through the proxy " + proxy.Host
	}
	return ""
}

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

// Encode returns a kubeconfig with only this context, as YAML.
func (c Config) Encode() ([]byte, error) {
	cluster := &clientcmdapi.Cluster{Server: c.Server, CertificateAuthorityData: c.TLS.CAData, TLSServerName: c.TLS.ServerName, ProxyURL: c.ProxyURL}
	if c.Cluster != "" {
		raw, err := json.Marshal(map[string]string{"uid": c.Cluster})
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
