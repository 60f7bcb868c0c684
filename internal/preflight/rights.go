package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
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
		return Check{Result: Fail, What: "its token or certificate is rejected (401): it expired, or its account was deleted", Next: next}
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return Check{Result: Skip, What: "it does not report our identity (Kubernetes 1.28 and newer do)"}
	case err != nil:
		return Check{Result: Fail, What: mirror.Explain(err), Next: "check which server responds at " + p.Config.Host}
	}
	return Check{Result: Pass, What: mirror.Name(review.Status.UserInfo.Username)}
}

func (p *probe) expiry(context.Context) Check {
	if p.SignIn.Tokens != nil {
		return Check{Result: Pass, What: "no credentials are stored: the main region requests one-hour tokens"}
	}
	life := kubeconfig.LifetimeOf(p.Config)
	if life == nil {
		return Check{Result: Pass, What: "the credentials have no known expiry"}
	}
	at, left := life.Expires.Format(time.RFC3339), time.Until(life.Expires)
	what, next := fmt.Sprintf("the credentials expire at %s, in %s", at, duration.HumanDuration(left)), "fernetcast renew "+p.Name
	if p.Operator {
		next = ""
	}
	switch {
	case left <= 0:
		return Check{Result: Fail, What: "the credentials expired at " + at, Next: next}
	case time.Now().After(life.Due):
		return Check{Result: Warn, What: what + ", with less than a third of their lifetime left", Next: next}
	case !p.Operator && !life.Fits(p.Schedule):
		return Check{Result: Warn, What: what + ", too soon for CronJob fernetcast-renew, which runs at " + p.Schedule, Next: "change its schedule to: " + life.Schedule()}
	}
	return Check{Result: Pass, What: what}
}

func (p *probe) rights(ctx context.Context) Check {
	if p.Operator {
		return Check{Result: Skip, What: "these are your own permissions: join creates an account"}
	}
	rules, incomplete, err := p.apis.Rules(ctx, p.Namespace)
	if err != nil {
		return Check{Result: Fail, What: "reading its permissions: " + mirror.Explain(err), Next: p.again()}
	}
	missing, excess := setup.Rights(rules, p.Secret, kube.ReadToken(p.Config.BearerToken).Account)
	p.excess = excess
	where := fmt.Sprintf("Secret %s/%s", p.Namespace, p.Secret)
	switch {
	case len(missing) == 1 && missing[0] == "watch":
		return Check{Result: Warn, What: "it may not watch " + where + ", so run reads it once a minute", Next: p.again()}
	case len(missing) > 0 && incomplete:
		return Check{Result: Warn, What: "its API server does not report all permissions; not reported: " + strings.Join(missing, ", ") + " for " + where}
	case len(missing) > 0:
		return Check{Result: Fail, What: "it may not " + strings.Join(missing, ", ") + " " + where, Next: p.again() + "; a missing namespace causes the same error"}
	}
	return Check{Result: Pass, What: "all required permissions for " + where}
}

func (p *probe) surplus(context.Context) Check {
	var texts []string
	for _, rule := range p.excess {
		texts = append(texts, setup.DescribeRule(rule))
	}
	switch {
	case p.Operator:
		return Check{Result: Skip, What: "these are your own permissions"}
	case len(texts) > 0:
		return Check{Result: Warn, What: "its account may also " + strings.Join(texts, "; "), Next: "remove these permissions: anyone who has the token has them"}
	}
	return Check{Result: Pass, What: "no others"}
}

func (p *probe) secret(ctx context.Context) Check {
	secret, err := p.apis.Secrets(p.Namespace).Get(ctx, p.Secret)
	at := mirror.Place{Remote: p.Name, Namespace: p.Namespace, Secret: p.Secret, Cluster: p.Cluster}
	switch {
	case apierrors.IsNotFound(err):
		if p.Operator { // fernetcast's own accounts may not read namespaces
			if _, err := p.apis.Core.Namespaces().Get(ctx, p.Namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
				next := fmt.Sprintf("if Keystone will run there: %s create namespace %s", mirror.Kubectl(p.Name, p.Namespace), p.Namespace)
				return Check{Result: Fail, What: p.Name + " has no namespace " + p.Namespace, Next: next}
			}
		}
		p.copy = mirror.ReadCopy(at, nil)
		return Check{Result: Pass, What: "none yet: it will be created"}
	case err != nil:
		d := mirror.FailureOf(err)
		return Check{Result: Fail, What: d.Detail, Next: p.again()}
	}
	p.copy = mirror.ReadCopy(at, secret)
	remove := fmt.Sprintf("delete it, and it is recreated: %s delete secret %s", mirror.Kubectl(p.Name, p.Namespace), p.Secret)
	switch {
	case ptr.Deref(secret.Immutable, false):
		return Check{Result: Fail, What: "it is immutable, so rotations cannot update it", Next: remove}
	case secret.Type != corev1.SecretTypeOpaque:
		return Check{Result: Fail, What: "its type is " + mirror.Name(string(secret.Type)) + " instead of Opaque", Next: remove}
	}
	return Check{Result: Pass, What: fmt.Sprintf("%d keys", len(secret.Data))}
}

// again returns the next step if these credentials don't work.
func (p *probe) again() string {
	if p.Operator {
		return "fix your context " + p.Name
	}
	return "join it again: " + p.join("")
}

// join returns the command that joins the remote again, without storing a token if it has none.
func (p *probe) join(flags string) string {
	if p.SignIn.Tokens != nil {
		flags = " --keyless" + flags
	}
	return "fernetcast join " + p.Name + flags
}

// source returns a skipped check if the source isn't known. Otherwise it returns the zero Check.
func (p *probe) source() Check {
	if s := p.Source.State(); s == mirror.SourceUnread || s == mirror.SourceAbsent {
		return Check{Result: Skip, What: "the source is unknown, so there is nothing to compare"}
	}
	return Check{}
}

func (p *probe) self(context.Context) Check {
	if c := p.source(); c.Result != "" {
		return c
	}
	if p.copy.Is(p.Source) {
		return Check{Result: Warn, What: "this kubeconfig is for the source itself, which needs no pushes", Next: "remove it: fernetcast leave " + p.Name + " --local"}
	}
	return Check{Result: Pass, What: "it is not the source's cluster"}
}

func (p *probe) keys(context.Context) Check {
	primary := p.copy.Fingerprints().Primary()
	switch {
	case primary == 0:
		return Check{Result: Pass, What: "it has none yet"}
	case p.copy.SameKeys(p.Source):
		return Check{Result: Pass, What: fmt.Sprintf("identical to the source's (primary %d)", primary)}
	case p.copy.Whose(p.Source) == mirror.Unowned && !p.copy.Is(p.Source):
		return Check{Result: Warn, What: fmt.Sprintf("it has its own keys (primary %d)", primary), Next: "the first push replaces them, and tokens signed with them become invalid"}
	}
	return Check{Result: Pass, What: fmt.Sprintf("primary %d", primary)}
}

func (p *probe) rotation(ctx context.Context) Check {
	job, err := p.apis.Rotates(ctx, p.Namespace)
	switch {
	case apierrors.IsForbidden(err):
		return Check{Result: Skip, What: "it may not read CronJobs; to check with your own permissions: fernetcast check --remote-context CONTEXT"}
	case err != nil:
		return Check{Result: Skip, What: mirror.Explain(err)}
	case job == "":
		return Check{Result: Pass, What: "no CronJob that rotates keys is active"}
	case p.copy.Main() != (mirror.Owner{}) && p.Source.State() != mirror.SourceMain:
		return Check{Result: Pass, What: "CronJob " + job + " is active, as it should be in the main region"}
	}
	return Check{
		Result: Fail, What: "CronJob " + job + " is active and creates keys that no other region has",
		Next: "suspend it: " + setup.SuspendRotation(p.Name, p.Namespace, job),
	}
}

func (p *probe) stamp(context.Context) Check {
	if c := p.source(); c.Result != "" {
		return c
	}
	if p.copy.UID() == "" {
		return Check{Result: Pass, What: "nothing has been pushed yet"}
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
