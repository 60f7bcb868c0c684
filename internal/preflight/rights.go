package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func (p *probe) identity(ctx context.Context) Check {
	review, err := p.apis.Authentication.SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	next := "fernetcast renew " + p.Name + ", or " + p.again()
	if p.Operator {
		next = p.again()
	}
	switch {
	case apierrors.IsUnauthorized(err) && p.SignIn.Tokens != nil:
		return Check{Result: Fail, What: mirror.Explain(err), Next: p.SignIn.Advice}
	case apierrors.IsUnauthorized(err):
		return Check{Result: Fail, What: "its token or certificate is refused (401): expired, or its account was deleted", Next: next}
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return Check{Result: Skip, What: "it does not tell who we are (Kubernetes 1.28 does)"}
	case err != nil:
		return Check{Result: Fail, What: mirror.Explain(err), Next: "see what answers at " + p.Config.Host}
	}
	return Check{Result: Pass, What: review.Status.UserInfo.Username}
}

func (p *probe) expiry(context.Context) Check {
	if p.SignIn.Tokens != nil {
		return Check{Result: Pass, What: "no credentials are stored: the main makes a token of an hour when it needs one"}
	}
	if p.Expires == nil {
		return Check{Result: Pass, What: "the credentials do not say that they expire"}
	}
	left, issued := time.Until(*p.Expires), kube.ReadToken(p.Config.BearerToken).Issued
	what, next := fmt.Sprintf("the credentials expire at %s, in %s", p.Expires.Format(time.RFC3339), left.Round(time.Minute)), "fernetcast renew "+p.Name
	if p.Operator {
		next = ""
	}
	switch {
	case left <= 0:
		return Check{Result: Fail, What: "the credentials have expired at " + p.Expires.Format(time.RFC3339), Next: next}
	case !issued.IsZero() && left < p.Expires.Sub(issued)/3:
		return Check{Result: Warn, What: what + ", with less than a third of their life left", Next: next}
	}
	return Check{Result: Pass, What: what}
}

func (p *probe) rights(ctx context.Context) Check {
	if p.Operator {
		return Check{Result: Skip, What: "these are your own rights: join makes an account"}
	}
	rules, incomplete, err := p.apis.Rules(ctx, p.Namespace)
	if err != nil {
		return Check{Result: Fail, What: "asking for its rights: " + mirror.Explain(err), Next: p.again()}
	}
	missing, excess := setup.Rights(rules, p.Secret, kube.ReadToken(p.Config.BearerToken).Account)
	p.surplus = excess
	where := fmt.Sprintf("Secret %s/%s", p.Namespace, p.Secret)
	switch {
	case len(missing) == 1 && missing[0] == "watch":
		return Check{Result: Warn, What: "it may not watch " + where + ", which is read once a minute instead", Next: p.again()}
	case len(missing) > 0 && incomplete:
		return Check{Result: Warn, What: "its API server does not tell all rights; not seen: " + strings.Join(missing, ", ") + " of " + where}
	case len(missing) > 0:
		return Check{Result: Fail, What: "it may not " + strings.Join(missing, ", ") + " " + where, Next: p.again() + "; a missing namespace looks like this, too"}
	}
	return Check{Result: Pass, What: "all that is needed on " + where}
}

func (p *probe) excess(context.Context) Check {
	switch {
	case p.Operator:
		return Check{Result: Skip, What: "these are your own rights"}
	case len(p.surplus) > 0:
		return Check{Result: Warn, What: "its account may also " + strings.Join(p.surplus, "; "), Next: "take these rights away: whoever has the token has them, too"}
	}
	return Check{Result: Pass, What: "nothing beyond that"}
}

func (p *probe) secret(ctx context.Context) Check {
	secret, err := p.apis.Secrets(p.Namespace).Get(ctx, p.Secret)
	at := mirror.Place{Remote: p.Name, Namespace: p.Namespace, Secret: p.Secret}
	switch {
	case apierrors.IsNotFound(err) && p.Operator && p.lacksNamespace(ctx):
		return Check{
			Result: Fail, What: p.Name + " has no namespace " + p.Namespace,
			Next: fmt.Sprintf("if Keystone will run there: kubectl --context %s create namespace %s", mirror.Quote(p.Name), p.Namespace),
		}
	case apierrors.IsNotFound(err):
		p.copy = mirror.ReadCopy(at, nil)
		return Check{Result: Pass, What: "there is none yet: it is created"}
	case err != nil:
		d := mirror.FailureOf(err)
		return Check{Result: Fail, What: d.Detail, Next: p.again()}
	}
	p.copy = mirror.ReadCopy(at, secret)
	remove := fmt.Sprintf("delete it there, and it is created again: kubectl --namespace %s delete secret %s", p.Namespace, p.Secret)
	switch {
	case ptr.Deref(secret.Immutable, false):
		return Check{Result: Fail, What: "it is immutable: no rotation could reach it", Next: remove}
	case secret.Type != corev1.SecretTypeOpaque:
		return Check{Result: Fail, What: "it is of type " + string(secret.Type) + ", and keys are of type Opaque", Next: remove}
	}
	return Check{Result: Pass, What: fmt.Sprintf("%d keys", len(secret.Data))}
}

// lacksNamespace reports whether the namespace is missing. The response to reading a Secret doesn't
// show that, and fernetcast's own accounts may not read namespaces.
func (p *probe) lacksNamespace(ctx context.Context) bool {
	_, err := p.apis.Core.Namespaces().Get(ctx, p.Namespace, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}

// again returns the next step if these credentials don't work.
func (p *probe) again() string {
	if p.Operator {
		return "correct your context " + p.Name
	}
	return "let it in again: fernetcast join " + p.Name
}

// source returns a skipped check if the source isn't known. Otherwise it returns the zero Check.
func (p *probe) source() Check {
	if s := p.Source.State(); s == mirror.SourceUnread || s == mirror.SourceAbsent {
		return Check{Result: Skip, What: "the source is not known, so there is nothing to compare"}
	}
	return Check{}
}

func (p *probe) self(context.Context) Check {
	if c := p.source(); c.Result != "" {
		return c
	}
	if p.copy.Is(p.Source) {
		return Check{Result: Warn, What: "this kubeconfig leads to the source itself, where nothing is pushed", Next: "take it out: fernetcast leave " + p.Name + " --local"}
	}
	return Check{Result: Pass, What: "it is another cluster than the source's"}
}

func (p *probe) keys(context.Context) Check {
	primary := p.copy.Fingerprints().Primary()
	switch {
	case primary == 0:
		return Check{Result: Pass, What: "it has none yet"}
	case p.copy.SameKeys(p.Source):
		return Check{Result: Pass, What: fmt.Sprintf("they are the source's (primary %d)", primary)}
	case p.copy.Whose(p.Source) == mirror.Nobodys && !p.copy.Is(p.Source):
		return Check{Result: Warn, What: fmt.Sprintf("it has keys of its own (primary %d)", primary), Next: "the first push replaces them: tokens that it has signed with them become invalid, once"}
	}
	return Check{Result: Pass, What: fmt.Sprintf("primary %d", primary)}
}

func (p *probe) rotation(ctx context.Context) Check {
	active, err := p.apis.Rotates(ctx, p.Namespace)
	switch {
	case apierrors.IsForbidden(err):
		return Check{Result: Skip, What: "it may not look at CronJobs; with your own rights: fernetcast check --remote-context CONTEXT"}
	case err != nil:
		return Check{Result: Skip, What: mirror.Explain(err)}
	case !active:
		return Check{Result: Pass, What: "no CronJob " + setup.RotationJob + " is active there"}
	}
	return Check{
		Result: Fail, What: "CronJob " + setup.RotationJob + " is active: it signs tokens with keys that nobody else has",
		Next: setup.SuspendRotation(p.Name, p.Namespace),
	}
}

func (p *probe) stamp(context.Context) Check {
	if c := p.source(); c.Result != "" {
		return c
	}
	if p.copy.UID() == "" {
		return Check{Result: Pass, What: "nothing was pushed there yet"}
	}
	whose := p.copy.Whose(p.Source)
	if p.Source.State() != mirror.SourceMain {
		return Check{Result: Pass, What: "it is " + whose}
	}
	d := mirror.Decide(p.Source, p.copy, false)
	if d.State == mirror.StateHeld {
		return Check{Result: Fail, What: d.Detail}
	}
	return Check{Result: Pass, What: "it is " + whose}
}
