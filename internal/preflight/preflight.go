// Package preflight examines the path from this process to a remote, step by step. Each check
// reports the problem and the next step.
//
// It changes nothing, locally or in the remote.
package preflight

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

// Result is the outcome of a check.
type Result string

// The results. A remote with a failed check can't be pushed to in its current state.
const (
	Pass Result = "pass"
	Warn Result = "warn"
	Fail Result = "fail"
	Skip Result = "skip"
)

// A Check is one step and its outcome. Scripts rely on the IDs, so they are never renamed.
type Check struct {
	ID     string `json:"id"`
	Result Result `json:"result"`
	What   string `json:"what"`
	// Next is the recommended action; "" if there is none.
	Next string `json:"next"`
	// Docs is the URL of an explanation.
	Docs string `json:"docs"`

	blocked bool // the check didn't run, because a check that it needs failed or time ran out
}

// Error returns the problem and the next step.
func (c Check) Error() string {
	return strings.TrimSuffix(c.What+"; "+c.Next, "; ")
}

// Examined is the result of examining one remote.
type Examined struct {
	Name string `json:"name"`
	// Checks are in a fixed order.
	Checks []Check `json:"checks"`
	// Copy is the remote's Secret, which can be missing; zero if it couldn't be read.
	Copy mirror.Copy `json:"-"`
	// Excess are the permissions that fernetcast doesn't need.
	Excess []authorizationv1.ResourceRule `json:"-"`
}

// Of returns the check with the given ID. It panics if there is none.
func (e Examined) Of(id string) Check {
	return e.Checks[slices.IndexFunc(e.Checks, func(c Check) bool { return c.ID == id })]
}

// Err returns nil if the remote answered the read of its Secret, even with a 404. Otherwise it
// returns the first [Check] that failed.
func (e Examined) Err() error {
	if e.Copy.Read() {
		return nil
	}
	for _, c := range e.Checks {
		if c.Result == Fail {
			return c
		}
	}
	return errors.New("there was no time left to check it")
}

// Options are the same for all remotes of an examination.
type Options struct {
	// Secret is the name of the Secret with the keys.
	Secret string
	// Source is the main region's Secret. If it couldn't be read, its state is unread.
	Source mirror.Source
	// Timeout bounds each check.
	Timeout   time.Duration
	UserAgent string
	// Schedule is the cron schedule of manifests/renew; "" if it isn't installed or can't be read.
	Schedule string
}

// A Remote is the input of [Examine].
type Remote struct {
	Options
	Name string
	// Config contains the address and credentials. Refused is the reason why the kubeconfig is
	// unusable. Exactly one of them is nil.
	Config  *rest.Config
	Refused error
	// TokenErr is the reason why a separately stored token isn't used; nil if there is no such
	// token.
	TokenErr error
	// OtherToken is used if the remote rejects the token in Config; "" if there is none.
	OtherToken string
	// Namespace is the namespace of the Secret in the remote. Cluster is the UID in the kubeconfig.
	Namespace, Cluster string
	// SignIn supplies tokens for a kubeconfig without credentials; otherwise zero.
	SignIn kube.SignIn
	// Operator means that Config is a kubectl context with a person's permissions.
	Operator bool
}

// A step is one check. It is skipped if the check that it needs failed or didn't run.
type step struct {
	id    string
	needs string
	run   func(*probe, context.Context) Check
}

// steps are in display order.
var steps = []step{
	{"kubeconfig", "", (*probe).kubeconfig},
	{"self", "secret", (*probe).self},
	{"dns", "kubeconfig", (*probe).dns},
	{"tcp", "dns", (*probe).tcp},
	{"tls", "tcp", (*probe).tls},
	{"clock", "tls", (*probe).time},
	{"version", "tls", (*probe).version},
	{"identity", "tls", (*probe).identity},
	{"expiry", "kubeconfig", (*probe).expiry},
	{"rights", "identity", (*probe).rights},
	{"excess", "rights", (*probe).surplus},
	{"secret", "identity", (*probe).secret},
	{"keys", "secret", (*probe).keys},
	{"rotation", "identity", (*probe).rotation},
	{"stamp", "secret", (*probe).stamp},
}

// docs is the page with a section for each check.
const docs = "https://github.com/fernetcast/fernetcast/blob/main/docs/checks.md#"

// A probe is a running examination of one remote. Each check can use the results of earlier ones.
type probe struct {
	Remote
	apis   *setup.APIs
	hello  hello // result of the first request
	copy   mirror.Copy
	excess []authorizationv1.ResourceRule // Examined.Excess
}

// Examine examines one remote. Each check ends within r.Timeout, and the examination within three
// times that. Checks that don't start in time are skipped.
func Examine(ctx context.Context, r Remote) Examined {
	ctx, cancel := context.WithTimeout(ctx, 3*r.Timeout)
	defer cancel()
	p := &probe{Remote: r}
	done := map[string]Check{}
	// The check self is displayed second but runs last, because it needs the Secret.
	order := slices.Concat(steps[:1], steps[2:], steps[1:2])
	for _, s := range order {
		done[s.id] = p.take(ctx, s, done)
	}
	if p.apis != nil {
		p.apis.Close()
	}
	found := Examined{Name: r.Name, Copy: p.copy, Excess: p.excess}
	for _, s := range steps {
		c := done[s.id]
		c.Docs = docs + s.id
		c.What = mirror.Decision{Detail: c.What}.Redacted(p.Source, p.copy).Detail
		found.Checks = append(found.Checks, c)
	}
	return found
}

func (p *probe) take(ctx context.Context, s step, done map[string]Check) Check {
	if needed := done[s.needs]; needed.Result == Fail || needed.blocked {
		return Check{ID: s.id, Result: Skip, What: "needs " + s.needs, blocked: true}
	}
	if ctx.Err() != nil {
		return Check{ID: s.id, Result: Skip, What: "there was no time left", blocked: true}
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	c := s.run(p, ctx)
	c.ID, c.What, c.Next = s.id, mirror.Printable(c.What), mirror.Printable(c.Next)
	return c
}

// proxied returns the host of the proxy to the remote, or "" if there is none.
func (p *probe) proxied() string {
	proxy := p.Config.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	server, err := url.Parse(p.Config.Host)
	if err != nil {
		return ""
	}
	if address, err := proxy(&http.Request{URL: server}); err == nil && address != nil {
		return address.Host // the userinfo could contain a password
	}
	return ""
}
