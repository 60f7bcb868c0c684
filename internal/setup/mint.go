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

// mintsAtOnce is how many tokens are asked for at the same time.
const mintsAtOnce = 10

// MintOptions are a [Minter]'s.
type MintOptions struct {
	// Config finds the main's cluster. It is called until it succeeds once.
	Config func() (*rest.Config, error)
	// Namespace and Account are whose tokens are minted.
	Namespace, Account string
	UserAgent          string
	// Timeout bounds each request.
	Timeout time.Duration
}

// Minter has the main's API server make short-lived tokens of one ServiceAccount
// (TokenRequest), each for one other cluster. It may be used concurrently.
type Minter struct {
	opts MintOptions
	slot chan struct{}

	mu   sync.Mutex
	main *APIs
	cfg  *rest.Config // without credentials
}

// NewMinter makes one. Nothing is sent.
func NewMinter(opts MintOptions) *Minter {
	return &Minter{opts: opts, slot: make(chan struct{}, mintsAtOnce)}
}

// Mint returns a token of the account for one audience, the address of the cluster that
// it is for, and nothing else. A token that the main itself would accept is not returned:
// whoever has written the address could then have the account's rights in the main. Errors
// hold no token; each is a [kube.Refusal].
func (m *Minter) Mint(ctx context.Context, audience string) (string, error) {
	select {
	case m.slot <- struct{}{}:
		defer func() { <-m.slot }()
	case <-ctx.Done():
		return "", m.failed("there was no time to ask for one")
	}
	if InCluster(audience) {
		return "", kube.NewRefusal(fmt.Sprintf("no token is made for %s: that is each cluster's own name for itself, also the main's", mirror.Printable(audience)), true)
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
		return "", m.failed(mirror.Explain(err) + "; in the main: kubectl apply -k manifests/identity")
	case err != nil:
		return "", m.failed(mirror.Explain(err))
	}
	token := answer.Status.Token
	if err := kube.CheckToken(token); err != nil {
		return "", m.failed(err.Error())
	}
	switch refused, err := m.refuses(ctx, cfg, token); {
	case err != nil:
		return "", m.failed("the main does not say whether it would accept one itself: " + mirror.Explain(err))
	case !refused:
		return "", kube.NewRefusal(fmt.Sprintf("no token is made for %s: the main's own API server would accept it, so it is one of the main's own audiences", mirror.Printable(audience)), true)
	}
	return token, nil
}

func (m *Minter) failed(why string) error {
	return kube.NewRefusal(fmt.Sprintf("the main makes no token of ServiceAccount %s/%s: %s", m.opts.Namespace, m.opts.Account, why), true)
}

// connect makes the clients of the main, once.
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

// refuses says whether the main's API server refuses a token as of nobody (401).
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

// InCluster says whether an address is the one that every cluster has for itself, and so
// perhaps an audience of the main's.
func InCluster(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return true
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	return host == "kubernetes" || host == "kubernetes.default" || strings.HasPrefix(host, "kubernetes.default.svc")
}
