package setup

import (
	"context"
	"encoding/json"
	"errors"
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

// discovery holds the fields that are read from a discovery document.
type discovery struct {
	Issuer string `json:"issuer"`
	Keys   string `json:"jwks_uri"`
}

func readDocument(document []byte) (d discovery, err error) {
	if err := json.Unmarshal(document, &d); err != nil || d.Issuer == "" {
		return d, kube.NewRefusal("the discovery document names no issuer", true)
	}
	return d, nil
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
	body, err := a.Core.RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json, */*").MaxRetries(0).Do(ctx).Raw()
	if err == nil && len(body) > maxDocument {
		err = tooLong(path)
	}
	return body, err
}

// Published reads the discovery document and the keys that an issuer publishes at a URL. Like an API
// server that trusts the issuer, it sends no credentials. Unlike an API server, it follows no
// redirects. ca is in PEM format; if it is nil, Published uses the system's CAs.
func Published(ctx context.Context, at string, ca []byte, timeout time.Duration) (Issuer, error) {
	client, err := kube.New(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, kube.Options{Timeout: timeout, Remote: true})
	if err != nil {
		return Issuer{}, err
	}
	defer client.Close()
	document, _, err := fetch(ctx, client, "the issuer", strings.TrimSuffix(at, "/")+DiscoveryPath)
	if err != nil {
		return Issuer{}, err
	}
	found, err := readDocument(document)
	if err != nil {
		return Issuer{}, err
	}
	keys, header, err := fetch(ctx, client, "the discovery document's jwks_uri", found.Keys)
	return Issuer{found.Issuer, document, keys, keptFor(header, time.Now())}, err
}

// maxDocument is the maximum size of an issuer's document in bytes.
const maxDocument = 64 << 10

func tooLong(path string) error {
	return kube.NewRefusal(fmt.Sprintf("%s has more than %d bytes", path, maxDocument), true)
}

// fetch returns a document and the headers of the response. The error names the origin of an
// address that isn't https.
func fetch(ctx context.Context, client *kube.Client, origin, address string) ([]byte, http.Header, error) {
	if !strings.HasPrefix(address, "https://") || mirror.Address(address) != address {
		return nil, nil, kube.NewRefusal(origin+" is not an https URL", true)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := client.HTTP().Do(req)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(resp.Body) // the client bounds it
	path := mirror.Printable(req.URL.Path)
	switch err := errors.Join(err, resp.Body.Close()); {
	case err != nil:
		return nil, nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, nil, kube.NewRefusal(fmt.Sprintf("the server responded to %s with code %d", path, resp.StatusCode), true)
	case len(body) > maxDocument:
		return nil, nil, tooLong(path)
	}
	return body, resp.Header, nil
}

// Without these headers, keys are cached for a tenth of their age, but at most a day.
const keptShare, keptMost = 10, 24 * time.Hour

// keptFor returns how long an API server caches an issuer's keys, according to the headers of the
// response. It follows github.com/coreos/go-oidc v2 (jwks.go), which uses
// github.com/pquerna/cachecontrol.
func keptFor(header http.Header, now time.Time) time.Duration {
	directives := map[string]time.Duration{}
	for part := range strings.SplitSeq(header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
			directives[strings.ToLower(name)] = time.Duration(seconds) * time.Second
		}
	}
	for _, name := range []string{"s-maxage", "max-age"} {
		if kept, ok := directives[name]; ok {
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
