package access

import (
	"errors"

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
	Token                string
}

// Encode writes it as a file.
func (k Kubeconfig) Encode() ([]byte, error) {
	return clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{k.Remote: {
			Server: k.Server, CertificateAuthorityData: k.CA, TLSServerName: k.ServerName, ProxyURL: k.ProxyURL,
		}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{k.Account: {Token: k.Token}},
		Contexts:       map[string]*clientcmdapi.Context{k.Remote: {Cluster: k.Remote, AuthInfo: k.Account, Namespace: k.Namespace}},
		CurrentContext: k.Remote,
	})
}

// WithToken is a kubeconfig with another token of its current context's user. All
// else stays.
func WithToken(kubeconfig []byte, token string) ([]byte, error) {
	cfg, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, errors.New("it is not the YAML of a kubeconfig") // the error could quote it
	}
	current := cfg.Contexts[cfg.CurrentContext]
	if current == nil || cfg.AuthInfos[current.AuthInfo] == nil {
		return nil, errors.New("its current-context names no user")
	}
	cfg.AuthInfos[current.AuthInfo].Token = token
	return clientcmd.Write(*cfg)
}
