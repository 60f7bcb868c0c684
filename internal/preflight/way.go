package preflight

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/apimachinery/pkg/util/duration"
)

const (
	// soonExpired is how long before its expiry a serving certificate causes a warning.
	soonExpired = 14 * 24 * time.Hour
	// Limits of the difference between the clocks. A remote whose clock is off rejects new tokens
	// or accepts expired ones.
	clockWarn, clockFail = 5 * time.Second, 60 * time.Second
)

// hello records the progress of one request. It uses the same transport as a push, including the
// proxy and the CA, so it fails at the same step.
type hello struct {
	dns      httptrace.DNSDoneInfo
	dialed   string // address of the last successful connection
	dialErr  error
	tunnel   bool // whether the TLS handshake started
	state    tls.ConnectionState
	tlsErr   error
	version  string
	answered time.Time // when the response arrived, by the local clock
	err      error
}

// greet sends the request. Trace hooks can still run after it returns, so they write to a local
// hello, and p gets a copy.
func (p *probe) greet(ctx context.Context) {
	var mu sync.Mutex
	var h hello
	locked := func(set func()) {
		mu.Lock()
		defer mu.Unlock()
		set()
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(found httptrace.DNSDoneInfo) { locked(func() { h.dns = found }) },
		ConnectDone: func(_, address string, err error) {
			locked(func() {
				if h.dialErr = err; err == nil {
					h.dialed = address
				}
			})
		},
		TLSHandshakeStart: func() { locked(func() { h.tunnel = true }) },
		TLSHandshakeDone:  func(state tls.ConnectionState, err error) { locked(func() { h.state, h.tlsErr = state, err }) },
	})
	h.version, h.err = p.apis.Version(ctx)
	h.answered = time.Now()
	locked(func() { p.hello = h })
}

func (p *probe) kubeconfig(context.Context) Check {
	if errors.Is(p.Refused, kubeconfig.ErrKeyless) {
		return Check{Result: Fail, What: "it stores no credentials: the remote accepts the main region's one-hour tokens", Next: "fernetcast check " + p.Name + " --identity fernetcast-identity"}
	}
	if p.Refused != nil {
		return Check{Result: Fail, What: p.Refused.Error(), Next: p.again()}
	}
	var err error
	if p.apis, err = setup.NewAPIs(p.Config, kube.Options{UserAgent: p.UserAgent, Timeout: p.Timeout, Remote: true, SignIn: p.SignIn, OtherToken: p.OtherToken}); err != nil {
		return Check{Result: Fail, What: mirror.Explain(err), Next: p.again()}
	}
	what := p.Config.Host
	if proxy := p.proxied(); proxy != "" {
		what += ", through the proxy " + proxy
	}
	if p.TokenErr != nil {
		return Check{Result: Warn, What: what + "; " + p.TokenErr.Error()}
	}
	return Check{Result: Pass, What: what}
}

// dns sends the first request. The tcp, tls, clock, and version checks also use its result.
func (p *probe) dns(ctx context.Context) Check {
	p.greet(ctx)
	host := hostOf(p.Config.Host)
	if proxy := p.proxied(); proxy != "" {
		if p.hello.dns.Err != nil {
			return Check{Result: Fail, What: fmt.Sprintf("cannot resolve the proxy %s: %s", proxy, reason(p.hello.dns.Err)), Next: "fix proxy-url in its kubeconfig"}
		}
		return Check{Result: Skip, What: "the proxy resolves the name"}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return Check{Result: Pass, What: host + " is an address"}
	}
	if p.hello.dns.Err != nil {
		return Check{Result: Fail, What: fmt.Sprintf("%s: %s", host, reason(p.hello.dns.Err)), Next: "make the name resolvable for the main region's pods, or specify an address: " + p.join(" --server https://HOST:PORT")}
	}
	var addresses []string
	for _, a := range p.hello.dns.Addrs {
		addresses = append(addresses, a.String())
	}
	return Check{Result: Pass, What: host + " resolves to " + strings.Join(addresses, ", ")}
}

func (p *probe) tcp(context.Context) Check {
	h := &p.hello
	switch {
	case h.tunnel && p.proxied() != "":
		return Check{Result: Pass, What: "connected through the proxy " + p.proxied()}
	case h.tunnel:
		return Check{Result: Pass, What: "connected to " + h.dialed}
	case h.dialed != "":
		return Check{Result: Fail, What: "the proxy " + p.proxied() + " does not connect: " + reason(p.hello.err), Next: "allow " + p.Config.Host + " in the proxy, or fix proxy-url in its kubeconfig"}
	}
	var refusal *kube.Refusal
	if h.dialErr == nil && errors.As(p.hello.err, &refusal) { // the request had no token, so it was not sent
		return Check{Result: Fail, What: mirror.Explain(refusal)}
	}
	return Check{Result: Fail, What: reason(errors.Join(h.dialErr, p.hello.err)), Next: "check that its API server is running, and that firewalls let the main region's pods reach " + p.Config.Host}
}

func (p *probe) tls(context.Context) Check {
	h := &p.hello
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	asked := hostOf(p.Config.Host)
	if p.Config.ServerName != "" {
		asked += " (tls-server-name " + p.Config.ServerName + ")"
	}
	next := "join it again, which updates the CA and the server name from your context: " + p.join("")
	if p.Operator {
		next = p.again()
	}
	switch {
	case errors.As(h.tlsErr, &unknown):
		return Check{Result: Fail, What: "chain: its certificate is not signed by a CA that its kubeconfig trusts", Next: next}
	case errors.As(h.tlsErr, &name):
		return Check{Result: Fail, What: "name: its certificate is not for " + asked, Next: "use a name from the certificate, with --server or tls-server-name: " + p.join("")}
	case errors.As(h.tlsErr, &invalid) && invalid.Reason == x509.Expired:
		return Check{Result: Fail, What: "time: its certificate has expired or is not valid yet, according to the local clock", Next: "renew the certificate, or fix the clock"}
	case h.tlsErr != nil:
		return Check{Result: Fail, What: reason(h.tlsErr), Next: next}
	case h.state.PeerCertificates == nil:
		return Check{Result: Fail, What: "the TLS handshake did not finish: " + reason(p.hello.err), Next: "check that an API server listens there"}
	}
	ends := h.state.PeerCertificates[0].NotAfter
	if left := time.Until(ends); left < soonExpired {
		return Check{Result: Warn, What: fmt.Sprintf("its certificate expires at %s, in %s", ends.UTC().Format(time.RFC3339), duration.HumanDuration(left)), Next: "renew the certificate"}
	}
	return Check{Result: Pass, What: "its certificate is valid until " + ends.UTC().Format(time.RFC3339)}
}

// time compares the clocks. The Date header has a resolution of one second.
func (p *probe) time(context.Context) Check {
	there, ok := p.apis.Clock()
	if !ok {
		return Check{Result: Skip, What: "it did not report its time"}
	}
	off := there.Sub(p.hello.answered).Round(time.Second)
	what, next := fmt.Sprintf("its clock differs from ours by %s", off.Abs()), "synchronize the clocks: tokens issued in the future are rejected"
	switch {
	case off.Abs() >= clockFail:
		return Check{Result: Fail, What: what, Next: next}
	case off.Abs() >= clockWarn:
		return Check{Result: Warn, What: what, Next: next}
	}
	return Check{Result: Pass, What: what}
}

func (p *probe) version(context.Context) Check {
	if p.hello.err == nil {
		return Check{Result: Pass, What: p.hello.version}
	}
	d := mirror.FailureOf(p.hello.err)
	if d.State == mirror.StateDenied {
		return Check{Result: Skip, What: "it does not report its version"}
	}
	return Check{Result: Fail, What: d.Detail, Next: "check that an API server responds at " + p.Config.Host}
}

// reason returns why a request failed, as text.
func reason(err error) string {
	if err == nil {
		return "no reason was given"
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return "the name does not exist"
	}
	return mirror.Explain(err)
}

func hostOf(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return server
	}
	return u.Hostname()
}
