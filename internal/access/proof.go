package access

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/fernetcast/fernetcast/internal/setup"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

// provePause is the delay between two examinations of a new kubeconfig.
const provePause = 200 * time.Millisecond

// A Refusal rejects the operator's input as incorrect usage.
type Refusal struct{ error }

// Unwrap returns the cause, for the errors package.
func (r Refusal) Unwrap() error { return r.error }

// Request removes the pushed version from the stamp of a copy that is already Synced, so that
// `fernetcast run` must write the copy again. When the copy is Synced again, run has written it
// since.
func (j *Join) Request(ctx context.Context) error {
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, mirror.StampVersion)
	_, err := j.There.Core.Secrets(j.Kubeconfig.Namespace).Patch(ctx, j.Operator.Secret, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager})
	return err
}

// keys describes the effect on the remote's keys.
func (j *Join) keys(c mirror.Copy) string {
	src := j.Operator.Source
	d := mirror.Decide(src, c, false)
	primary := c.Fingerprints().Primary()
	switch {
	case c.UID() == "":
		return "none yet: they will be created"
	case d.State == mirror.StateSynced, c.SameKeys(src):
		return "identical to the main region's"
	case d.State == mirror.StateHeld && src.State() == mirror.SourceMain:
		return "held: " + d.Detail
	case primary == 0:
		return "none yet: they will be written"
	case d.Reason == mirror.ReasonUnstamped || src.State() != mirror.SourceMain:
		return fmt.Sprintf("its own (primary %d): they will be replaced, and tokens signed with them become invalid", primary)
	}
	return fmt.Sprintf("%s (primary %d): they will be updated", c.Whose(src), primary)
}

// prove examines the remote through a new kubeconfig, just as run would. RBAC changes take a moment
// to reach all API servers, so prove retries until ctx ends.
func (j *Join) prove(ctx context.Context, kubeconfig []byte) (why error) {
	remote, common := j.Remote(kubeconfig), j.common(ctx)
	_ = wait.PollUntilContextCancel(ctx, provePause, true, func(ctx context.Context) (bool, error) {
		found := preflight.Examine(ctx, remote)
		err := proof(found, common)
		if err == nil || why == nil || ctx.Err() == nil { // an examination that ctx interrupts gives a less specific reason
			why = err
		}
		if c := found.Of("excess"); err == nil && c.Result == preflight.Warn {
			j.Say("Warning: " + c.Error())
		}
		return err == nil, nil
	})
	return why
}

// common returns the permissions of every ServiceAccount of the namespace in the remote, or nil if the
// operator may not impersonate one.
func (j *Join) common(ctx context.Context) []authorizationv1.ResourceRule {
	const all = "system:serviceaccounts"
	cfg, namespace := rest.CopyConfig(j.There.Config), j.Kubeconfig.Namespace
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + namespace + ":nobody", Groups: []string{all, all + ":" + namespace, "system:authenticated"}}
	apis, err := setup.NewAPIs(cfg, kube.Options{UserAgent: j.Operator.UserAgent, Timeout: j.Operator.Timeout})
	if err != nil {
		return nil
	}
	defer apis.Close()
	rules, _, _ := apis.Rules(ctx, namespace)
	return rules
}

// proof returns nil if a new kubeconfig works and has the permissions in manifests/remote. Further
// permissions are harmless unless they are grave and only this account has them.
func proof(found preflight.Examined, common []authorizationv1.ResourceRule) error {
	if err := found.Err(); err != nil {
		return err
	}
	if c := found.Of("rights"); c.Result != preflight.Pass {
		return c
	}
	refused := slices.ContainsFunc(found.Excess, func(rule authorizationv1.ResourceRule) bool {
		return setup.Grave(rule) && !slices.ContainsFunc(common, func(c authorizationv1.ResourceRule) bool { return reflect.DeepEqual(c, rule) })
	})
	if c := found.Of("excess"); c.Result == preflight.Skip || refused {
		return c
	}
	return nil
}
