package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/client-go/rest"
)

// DiscoveryPath is the path of an issuer's discovery document (OpenID Connect Discovery 1.0,
// section 4). KeysPath is the path of the public keys on a Kubernetes API server.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
)

// said is what is read of a discovery document.
type said struct {
	Issuer string `json:"issuer"`
	Keys   string `json:"jwks_uri"`
}

func readDocument(document []byte) (s said, err error) {
	if err := json.Unmarshal(document, &s); err != nil || s.Issuer == "" {
		return s, kube.NewRefusal("the discovery document names no issuer", true)
	}
	return s, nil
}

// An Issuer describes the signer of a cluster's ServiceAccount tokens.
type Issuer struct {
	// URL is the issuer claim of the tokens.
	URL string
	// Document is the discovery document. Keys are the public keys (a JWKS). Both are JSON.
	Document, Keys []byte
	// KeptFor is how long an API server may cache the keys, according to their HTTP headers. A new
	// key may be unknown for that long.
	KeptFor time.Duration
}

// Issuer reads the discovery document and the keys from the cluster's API server
// (https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery).
func (a *APIs) Issuer(ctx context.Context) (Issuer, error) {
	document, err := a.get(ctx, DiscoveryPath)
	if err != nil {
		return Issuer{}, err
	}
	found, err := readDocument(document)
	if err != nil {
		return Issuer{}, err
	}
	keys, err := a.get(ctx, KeysPath)
	return Issuer{URL: found.Issuer, Document: document, Keys: keys}, err
}

func (a *APIs) get(ctx context.Context, path string) ([]byte, error) {
	return a.Core.RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json, */*").MaxRetries(0).Do(ctx).Raw()
}

// Published reads the discovery document and the keys that an issuer publishes at a URL. Like an API
// server that trusts the issuer, it sends no credentials. ca is in PEM format; if it is nil,
// Published uses the system's CAs.
func Published(ctx context.Context, at string, ca []byte, timeout time.Duration) (Issuer, error) {
	client, err := rest.HTTPClientFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}, Timeout: timeout, Proxy: http.ProxyFromEnvironment})
	if err != nil {
		return Issuer{}, err
	}
	defer client.CloseIdleConnections()
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if host := "https://" + req.URL.Host; len(via) >= maxRedirects || mirror.Address(host) != host {
			return kube.NewRefusal("too many redirects, or a redirect to an unusual address", true)
		}
		return nil
	}
	document, _, err := fetch(ctx, client, "the discovery document", strings.TrimSuffix(at, "/")+DiscoveryPath)
	if err != nil {
		return Issuer{}, err
	}
	found, err := readDocument(document)
	if err != nil {
		return Issuer{}, err
	}
	keys, header, err := fetch(ctx, client, "the jwks_uri in the discovery document", found.Keys)
	return Issuer{found.Issuer, document, keys, keptFor(header, time.Now())}, err
}

// maxDocument is the maximum size of an issuer's document in bytes.
const maxDocument, maxRedirects = 64 << 10, 10

// fetch returns a document, cut off after maxDocument bytes, and the headers of the response.
func fetch(ctx context.Context, client *http.Client, what, address string) ([]byte, http.Header, error) {
	if !strings.HasPrefix(address, "https://") || mirror.Address(address) != address {
		return nil, nil, kube.NewRefusal(what+" is not an https address", true)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, kube.NewRefusal(fmt.Sprintf("%s is answered with %d", what, resp.StatusCode), true)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	return body, resp.Header, err
}

// An answer without a word about it is kept for a tenth of its age, a day at most.
const keptShare, keptMost = 10, 24 * time.Hour

// keptFor returns how long an API server caches an issuer's keys, according to the headers of the
// response. It follows github.com/coreos/go-oidc v2 (jwks.go), which uses
// github.com/pquerna/cachecontrol.
func keptFor(header http.Header, now time.Time) time.Duration {
	said := map[string]time.Duration{}
	for part := range strings.SplitSeq(header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
			said[strings.ToLower(name)] = time.Duration(seconds) * time.Second
		}
	}
	for _, name := range []string{"s-maxage", "max-age"} {
		if kept, ok := said[name]; ok {
			return kept
		}
	}
	if until, err := http.ParseTime(header.Get("Expires")); err == nil {
		return max(0, until.Sub(now))
	}
	if changed, err := http.ParseTime(header.Get("Last-Modified")); err == nil {
		return min(keptMost, max(0, now.Sub(changed)/keptShare))
	}
	return 0
}
