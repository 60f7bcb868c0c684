package setup

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// mintsAtOnce is how many tokens a Minter requests at the same time.
const mintsAtOnce = 10

// MintOptions configure a [Minter].
type MintOptions struct {
	// Config returns the client configuration for the main region's cluster. The Minter calls it
	// until it succeeds once.
	Config func() (*rest.Config, error)
	// Namespace and Account identify the ServiceAccount that the tokens are issued for.
	Namespace, Account string
	UserAgent          string
	// Timeout is the deadline of each request.
	Timeout time.Duration
}

// A Minter requests short-lived tokens for one ServiceAccount (TokenRequest) from the main region's
// API server, each for one other cluster. It is safe for concurrent use.
type Minter struct {
	opts MintOptions
	slot chan struct{}

	mu   sync.Mutex
	main *APIs
	cfg  *rest.Config // the client configuration, without credentials
}

// NewMinter returns a Minter. It sends no requests.
func NewMinter(opts MintOptions) *Minter {
	return &Minter{opts: opts, slot: make(chan struct{}, mintsAtOnce)}
}

// Mint returns a token for the account with a single audience, the address of another cluster. It
// never returns a token that the main region's API server would accept. Otherwise, the author of the
// kubeconfig with that address could get the account's permissions in the main region. Every error
// is a [kube.Refusal] and contains no token.
func (m *Minter) Mint(ctx context.Context, audience string) (string, error) {
	select {
	case m.slot <- struct{}{}:
		defer func() { <-m.slot }()
	case <-ctx.Done():
		return "", m.failed("there was no time to ask for one")
	}
	if InCluster(audience) {
		return "", kube.NewRefusal(fmt.Sprintf("no token is requested for %s: every cluster uses this address for itself, including the main region", mirror.Printable(audience)), true)
	}
	main, cfg, err := m.connect()
	if err != nil {
		return "", m.failed(mirror.Explain(err))
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{audience}, ExpirationSeconds: ptr.To(int64(kube.MintedLife / time.Second)),
	}}
	answer, err := main.Core.ServiceAccounts(m.opts.Namespace).CreateToken(ctx, m.opts.Account, request, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return "", m.failed(mirror.Explain(err) + "; to grant it, in the main region's cluster: kubectl apply -k manifests/identity")
	case err != nil:
		return "", m.failed(mirror.Explain(err))
	}
	token := answer.Status.Token
	if err := kube.CheckToken(token); err != nil {
		return "", m.failed(err.Error())
	}
	switch refused, err := m.refuses(ctx, cfg, token); {
	case err != nil:
		return "", m.failed("asking the main region whether it would accept the token itself failed: " + mirror.Explain(err))
	case !refused:
		return "", kube.NewRefusal(fmt.Sprintf("no token is requested for %s: the main region's own API server would accept it, because that address is one of its audiences", mirror.Printable(audience)), true)
	}
	return token, nil
}

// failed returns the error for a token that the main region did not issue or that is unusable.
func (m *Minter) failed(why string) error {
	return kube.NewRefusal(fmt.Sprintf("the main region issues no token for ServiceAccount %s/%s: %s", m.opts.Namespace, m.opts.Account, why), true)
}

// connect returns the clients for the main region, and creates them at the first call.
func (m *Minter) connect() (*APIs, *rest.Config, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.main != nil {
		return m.main, m.cfg, nil
	}
	cfg, err := m.opts.Config()
	if err != nil {
		return nil, nil, err
	}
	main, err := NewAPIs(cfg, kube.Options{UserAgent: m.opts.UserAgent, Timeout: m.opts.Timeout})
	if err != nil {
		return nil, nil, err
	}
	m.main, m.cfg = main, rest.AnonymousClientConfig(cfg)
	return m.main, m.cfg, nil
}

// refuses reports whether the main region's API server rejects a token with 401.
func (m *Minter) refuses(ctx context.Context, cfg *rest.Config, token string) (bool, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.BearerToken = token
	apis, err := NewAPIs(cfg, kube.Options{UserAgent: m.opts.UserAgent, Timeout: m.opts.Timeout})
	if err != nil {
		return false, err
	}
	defer apis.Close()
	switch _, err := apis.Version(ctx); {
	case apierrors.IsUnauthorized(err):
		return true, nil
	case err != nil && !apierrors.IsForbidden(err):
		return false, err
	}
	return false, nil
}

// InCluster reports whether server is an address that every cluster uses for itself. The main
// region's API server may accept it as an audience. InCluster also returns true for an invalid URL.
func InCluster(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return true
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	return host == "kubernetes" || host == "kubernetes.default" || strings.HasPrefix(host, "kubernetes.default.svc")
}
