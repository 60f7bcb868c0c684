// Package probe tests whether each region's Keystone accepts the tokens of other regions, as their
// users do.
//
// It reads no Secrets. [mirror.Probe.Explain] compares a result with the status of the Secrets.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"k8s.io/client-go/rest"
)

const (
	// maxRegions bounds the regions, and so the connections and metrics.
	maxRegions = 500
	// atOnce bounds the concurrent requests to one region.
	atOnce = 8
)

// Options configure a [Prober].
type Options struct {
	UserAgent string
	// Timeout bounds each sign-in, and the validations of its token in all regions together.
	Timeout time.Duration
	// Interface replaces the credentials' interface, unless it is "".
	Interface string
	// Endpoints replace the catalog's identity endpoints, by region.
	Endpoints map[string]string
}

// A Prober signs in to regions and validates the tokens. It is safe for concurrent use.
type Prober struct {
	creds     Credentials
	opts      Options
	keystones map[string]*keystone // by region
}

// Open signs in at the credentials' auth_url, and reads the regions' identity endpoints from the
// catalog. Only these and those in opts ever receive credentials or tokens. Call Close when done.
func Open(ctx context.Context, creds Credentials, opts Options) (*Prober, error) {
	p := &Prober{creds: creds, opts: opts, keystones: map[string]*keystone{}}
	first, err := p.keystone(creds.auth.IdentityEndpoint)
	if err != nil {
		return nil, err
	}
	defer first.client.Close()
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	_, catalog, err := first.signIn(ctx, creds.auth)
	if err != nil {
		return nil, fmt.Errorf("signing in at %s: %w", mirror.Address(creds.auth.IdentityEndpoint), err)
	}
	endpoints := identityEndpoints(catalog, cmp.Or(opts.Interface, creds.Interface, "public"))
	for region, address := range opts.Endpoints {
		maps.DeleteFunc(endpoints, func(name, _ string) bool { return strings.EqualFold(name, region) })
		endpoints[region] = address
	}
	if len(endpoints) > maxRegions {
		return nil, fmt.Errorf("the catalog has identity endpoints in %d regions; at most %d can be probed", len(endpoints), maxRegions)
	}
	for region, address := range endpoints {
		if p.keystones[region], err = p.keystone(address); err != nil {
			p.Close()
			return nil, fmt.Errorf("region %s: %w", region, err)
		}
	}
	return p, nil
}

// identityEndpoints returns the addresses of the identity service, by region. It skips regions whose
// names can't be a main region's.
func identityEndpoints(catalog *tokens.ServiceCatalog, of string) map[string]string {
	endpoints := map[string]string{}
	for _, service := range catalog.Entries {
		for _, e := range service.Endpoints {
			region := cmp.Or(e.RegionID, e.Region)
			if service.Type == "identity" && e.Interface == of && mirror.CheckRegion(region) == nil {
				endpoints[region] = e.URL
			}
		}
	}
	return endpoints
}

// keystone returns a client for the Keystone at address. Plain http is allowed only if auth_url uses
// it, because anyone on the path could read the tokens.
func (p *Prober) keystone(address string) (*keystone, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("the identity endpoint %s is not an http or https address", mirror.Address(address))
	case u.Scheme == "http" && !strings.HasPrefix(strings.ToLower(p.creds.auth.IdentityEndpoint), "http:"):
		return nil, fmt.Errorf("the identity endpoint %s uses http, but auth_url uses https: tokens are not sent unencrypted", mirror.Address(address))
	}
	// The client has no timeout, because each request's context has a deadline.
	client, err := kube.New(&rest.Config{Host: u.Scheme + "://" + u.Host}, kube.Options{UserAgent: p.opts.UserAgent, Remote: true, TLS: p.creds.tls})
	if err != nil {
		return nil, fmt.Errorf("the identity endpoint %s: %w", mirror.Address(address), err)
	}
	base := strings.TrimRight(strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v3"), "/")
	return &keystone{client: client, base: u.Scheme + "://" + u.Host + base, slots: make(chan struct{}, atOnce)}, nil
}

// Close closes all connections.
func (p *Prober) Close() {
	for _, k := range p.keystones {
		if k != nil {
			k.client.Close()
		}
	}
}

// Regions returns the sorted names of the regions that have an endpoint.
func (p *Prober) Regions() []string { return slices.Sorted(maps.Keys(p.keystones)) }

// Region returns the name of a region as the catalog spells it, or false if it has no endpoint.
// Names of remotes are always lowercase.
func (p *Prober) Region(name string) (string, bool) {
	for region := range p.keystones {
		if strings.EqualFold(region, name) {
			return region, true
		}
	}
	return "", false
}

// Run gets a new token in each region of from, and shows it to each region of to. It calls each for
// every result as soon as it arrives, but never concurrently. All regions must be among
// [Prober.Regions].
func (p *Prober) Run(ctx context.Context, from, to []string, each func(mirror.Probe)) {
	var mu sync.Mutex
	report := func(r mirror.Probe, began time.Time, err error) {
		if err != nil {
			r.Detail = err.Error()
		}
		r.Seconds = time.Since(began).Seconds()
		mu.Lock()
		defer mu.Unlock()
		each(r)
	}
	var all sync.WaitGroup
	for _, region := range from {
		all.Go(func() {
			began := time.Now()
			t, err := p.issue(ctx, region)
			if err != nil {
				report(mirror.Probe{From: region, Verdict: mirror.NoToken}, began, err)
				return
			}
			ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
			defer cancel()
			var shown sync.WaitGroup
			for _, other := range to {
				shown.Go(func() {
					began := time.Now()
					verdict, err := p.keystones[other].validate(ctx, t)
					report(mirror.Probe{From: region, To: other, Verdict: verdict}, began, err)
				})
			}
			shown.Wait()
		})
	}
	all.Wait()
}

func (p *Prober) issue(ctx context.Context, region string) (token, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	t, _, err := p.keystones[region].signIn(ctx, p.creds.auth)
	return t, err
}

var errNotKeystone = errors.New("the response isn't from Keystone's v3 API: check the endpoint")
