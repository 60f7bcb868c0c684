// Package preflight examines the way from here to a remote, a step at a time, and says
// what is wrong and what to do.
//
// It changes nothing, there or here.
package preflight

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"k8s.io/client-go/rest"
)

// Result is how a check ended.
type Result string

// The results. A remote with a Fail cannot be pushed to as it is.
const (
	Pass Result = "pass"
	Warn Result = "warn"
	Fail Result = "fail"
	Skip Result = "skip"
)

// Check is one step and what came of it. IDs are never renamed.
type Check struct {
	ID     string `json:"id"`
	Result Result `json:"result"`
	What   string `json:"what"`
	// Next is what to do; "" where there is nothing.
	Next string `json:"next"`

	blocked bool // left out because another has failed, or for want of time
}

// Error implements error: what is wrong, and the next step.
func (c Check) Error() string {
	if c.Next == "" {
		return c.What
	}
	return c.What + "; " + c.Next
}

// Examined is what was found at one remote.
type Examined struct {
	Name string `json:"name"`
	// Checks are in a fixed order.
	Checks []Check `json:"checks"`
	// Copy is the Secret there, or that there is none; zero if it couldn't be read.
	Copy mirror.Copy `json:"-"`
}

// Of returns the check with an ID, which has to exist.
func (e Examined) Of(id string) Check {
	return e.Checks[slices.IndexFunc(e.Checks, func(c Check) bool { return c.ID == id })]
}

// Err returns nil if the remote answered the read of its Secret, even with a 404.
// Otherwise it returns the first [Check] that failed.
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
	// Source is the main's Secret, unread where it could not be read.
	Source mirror.Source
	// Timeout bounds each check.
	Timeout   time.Duration
	UserAgent string
}

// Remote is what is examined.
type Remote struct {
	Options
	Name string
	// Config is how to reach it, Refused why its kubeconfig is no good; one is nil.
	Config  *rest.Config
	Refused error
	// TokenErr is why a token that is kept beside the kubeconfig is not used; nil if there is no such token.
	TokenErr error
	// Namespace has its Secret.
	Namespace string
	// SignIn is for a kubeconfig without credentials; else zero.
	SignIn kube.SignIn
	// Expires is the end of its credentials; nil if they don't have one.
	Expires *time.Time
	// Operator says that it is a person's context, with that person's rights.
	Operator bool
}

// step is one check. It is left out where the one that it needs has failed, or was left
// out itself.
type step struct {
	id    string
	needs string
	run   func(*probe, context.Context) Check
}

// steps are in the order in which they are shown.
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
	{"excess", "rights", (*probe).excess},
	{"secret", "identity", (*probe).secret},
	{"keys", "secret", (*probe).keys},
	{"rotation", "identity", (*probe).rotation},
	{"stamp", "secret", (*probe).stamp},
}

// probe is the examination of one remote: what the checks so far have found.
type probe struct {
	Remote
	apis    *setup.APIs
	hello   hello // the first request
	copy    mirror.Copy
	surplus []string // rights beyond what is needed
}

// Examine examines one remote. Each check ends within its timeout, and all of them
// within three; a check that there was no time for is skipped.
func Examine(ctx context.Context, r Remote) Examined {
	ctx, cancel := context.WithTimeout(ctx, 3*r.Timeout)
	defer cancel()
	p := &probe{Remote: r}
	done := map[string]Check{}
	// self needs the Secret, and is shown before it.
	order := slices.Concat(steps[:1], steps[2:], steps[1:2])
	for _, s := range order {
		done[s.id] = p.take(ctx, s, done)
	}
	if p.apis != nil {
		p.apis.Close()
	}
	found := Examined{Name: r.Name, Copy: p.copy}
	for _, s := range steps {
		found.Checks = append(found.Checks, done[s.id])
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

// proxied says whether the way there goes by a proxy, and by which.
func (p *probe) proxied() string {
	proxy := p.Config.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	request, err := http.NewRequest(http.MethodGet, p.Config.Host, nil)
	if err != nil {
		return ""
	}
	address, err := proxy(request)
	if err != nil || address == nil {
		return ""
	}
	return address.Host // without a password
}
