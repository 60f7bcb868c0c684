package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Survey is what was found in a remote before anything was written there.
type Survey struct {
	Version string
	// Keys say what becomes of the keys there.
	Keys string
	// Rotates says that a rotation CronJob is active there; nil where that cannot be
	// looked at.
	Rotates *bool
}

// survey reads what there is to know, with the operator's rights. An error says why
// the remote cannot be let in.
func (j *Join) survey(ctx context.Context, entries map[string][]byte) (Survey, error) {
	info, err := j.There.Version(ctx)
	if err != nil {
		return Survey{}, fmt.Errorf("%s cannot be reached: %s", j.Kubeconfig.Server, mirror.Explain(err))
	}
	s := Survey{Version: mirror.Printable(info.GitVersion)}
	if err := j.identify(ctx, entries); err != nil {
		return s, err
	}
	namespace := j.Kubeconfig.Namespace
	if _, err := j.There.Core.Namespaces().Get(ctx, namespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return s, fmt.Errorf("%s has no namespace %s: is Keystone to run there? To make it: kubectl --context %s create namespace %s",
			j.Kubeconfig.Remote, namespace, mirror.Quote(j.Context), namespace)
	}
	secret, err := j.There.Core.Secrets(namespace).Get(ctx, j.Secret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		secret, err = nil, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading Secret %s/%s in %s: %s", namespace, j.Secret, j.Kubeconfig.Remote, mirror.Explain(err))
	}
	s.Keys = j.keys(secret)
	if active, err := j.There.Rotates(ctx, namespace); err == nil {
		s.Rotates = &active
	}
	return s, nil
}

// keys say what becomes of the keys there.
func (j *Join) keys(there *corev1.Secret) string {
	at := mirror.Place{Remote: j.Kubeconfig.Remote, Namespace: j.Kubeconfig.Namespace, Secret: j.Secret}
	c := mirror.ReadCopy(at, there)
	d := mirror.Decide(j.Source, c, false)
	primary := c.Fingerprints().Primary()
	switch {
	case there == nil:
		return "there are none yet: they are created"
	case d.State == mirror.StateSynced, c.SameKeys(j.Source):
		return "they are the main's already"
	case d.State == mirror.StateHeld && j.Source.State() == mirror.SourceMain:
		return "they are held: " + d.Detail
	case primary == 0:
		return "there are none yet: they are written"
	case d.Reason == mirror.ReasonUnstamped || j.Source.State() != mirror.SourceMain:
		return fmt.Sprintf("it has its own (primary %d): they are replaced, and tokens that it has signed with them become invalid", primary)
	}
	return fmt.Sprintf("it has %s (primary %d): they follow the main's", c.Whose(j.Source), primary)
}

// apart refuses a remote that is the source's own cluster.
func (j *Join) apart(ctx context.Context, there *Cluster) error {
	same := Refusal{fmt.Errorf("%s and the source are one cluster: a main needs no access to itself", j.Kubeconfig.Remote)}
	here, err := j.Here.ClusterUID(ctx)
	switch {
	case err == nil && here != "" && there.uid != "":
		if here == there.uid {
			return same
		}
		return nil
	case j.HomeAddress == j.Kubeconfig.Server:
		return same
	}
	secret, err := j.There.Core.Secrets(j.Kubeconfig.Namespace).Get(ctx, j.Secret, metav1.GetOptions{})
	if err == nil && secret.UID == j.Source.UID() {
		return same
	}
	return nil
}

// Refusal is what the operator asked for and cannot have: bad usage.
type Refusal struct{ error }

// Unwrap is for the errors package.
func (r Refusal) Unwrap() error { return r.error }

// prove uses a kubeconfig as run will: its rights have to be just those of
// manifests/remote, and its GET a Secret or a real 404. RBAC takes a moment to be
// seen everywhere, so it is tried until ctx ends.
func (j *Join) prove(ctx context.Context, kubeconfig []byte) error {
	apis, get, err := j.Open(j.Kubeconfig.Remote, kubeconfig)
	if err != nil {
		return err
	}
	defer apis.Close()
	for {
		err := j.proof(ctx, apis, get)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(provePause):
		}
	}
}

func (j *Join) proof(ctx context.Context, apis *setup.APIs, get func(context.Context) error) error {
	rules, _, err := apis.Rules(ctx, j.Kubeconfig.Namespace)
	if err != nil {
		return fmt.Errorf("asking for its rights: %s", j.explain(err))
	}
	missing, excess := setup.Rights(rules, j.Secret, j.Kubeconfig.Account)
	switch {
	case len(missing) > 0:
		return fmt.Errorf("its account may not %s the Secret", joined(missing))
	case len(excess) > 0:
		return fmt.Errorf("its account may do more than it should: %s; take that away first, because whoever has the token has it, too", mirror.Printable(joined(excess)))
	}
	return answered(ctx, get)
}

// explain says what is wrong, and, without a token of the remote's own, what to do.
func (j *Join) explain(err error) string {
	if j.Trust == nil {
		return mirror.Explain(err)
	}
	return mirror.FailureOf(err).Detail
}

// answered says whether a kubeconfig's GET is a Secret, or a real 404.
func answered(ctx context.Context, get func(context.Context) error) error {
	if err := get(ctx); err != nil && !apierrors.IsNotFound(err) {
		return errors.New("reading the Secret: " + mirror.Explain(err))
	}
	return nil
}
