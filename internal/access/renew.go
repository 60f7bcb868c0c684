package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/preflight"
	"github.com/fernetcast/fernetcast/internal/setup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// third is the share of a token's lifetime below which it is renewed.
const third = 1. / 3

// A Renewal requests a new token for one remote's account.
type Renewal struct {
	Name string // the remote's name
	// Kubeconfig is the stored kubeconfig, with the token in use. It is untrusted.
	Kubeconfig kubeconfig.Config
	// Namespace and Account identify the account that join gives this main region in the remote.
	Namespace, Account string
	// By requests the token: the remote as the operator's context shows it or, if Self is set, as the
	// token in use shows it.
	By   Cluster
	Self bool
	// Life is the lifetime to request.
	Life time.Duration
	// Remote returns the remote as accessed through a kubeconfig.
	Remote func(kubeconfig []byte) preflight.Remote
}

// Identify determines which cluster By is, for Check, unless Self is set.
func (r *Renewal) Identify(ctx context.Context) error {
	if r.Self {
		return nil
	}
	return r.By.identify(ctx)
}

// Kept returns why the token in use need not be renewed, and when it expires. It returns "" if the
// token is due.
func (r Renewal) Kept(at time.Time) (why string, expires *time.Time) {
	token := kube.ReadToken(r.Kubeconfig.Token)
	left, ok := token.Left(at)
	switch {
	case !ok:
		return "its token has no known expiry", nil
	case due(token, at):
		return "", nil
	}
	return fmt.Sprintf("%.0f%% of its lifetime is left", 100*left), &token.Expires
}

// due reports whether a token has less than a third of its lifetime left. It returns false if the
// token doesn't contain its lifetime.
func due(token kube.Token, at time.Time) bool {
	left, ok := token.Left(at)
	return ok && left < third
}

// register annotates an account with the IDs of the tokens that may request a successor,
// separated by commas. manifests/remote/self-renew enforces them. life is the longest lifetime that
// they may request. 0 leaves the limit unchanged.
func register(ctx context.Context, by *setup.APIs, namespace, account, ids string, life time.Duration) error {
	annotations := map[string]string{"fernetcast/token-ids": ids}
	if life > 0 {
		annotations["fernetcast/token-seconds"] = strconv.Itoa(int(life / time.Second))
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = by.Core.ServiceAccounts(namespace).Patch(ctx, account, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "fernetcast-renew"})
	return err
}

// Make requests a token, unless Check returns an error, and verifies that it works. It returns the
// kubeconfig with the new token. The old token stays valid, and nothing is stored.
func (r Renewal) Make(ctx context.Context) (renewed []byte, given Grant, err error) {
	if err := r.Check(); err != nil {
		return nil, given, err
	}
	old := kube.ReadToken(r.Kubeconfig.Token)
	given, err = newToken(ctx, r.By.Core, old.Namespace, old.Account, r.Life)
	switch {
	case apierrors.IsForbidden(err) && r.Self:
		return nil, given, fmt.Errorf("it may not request its successor (%s); to permit it: fernetcast join %s --self-renew", mirror.Explain(err), r.Name)
	case apierrors.IsNotFound(err):
		return nil, given, fmt.Errorf("account %s no longer exists; to recreate it: fernetcast join %s", old.Account, r.Name)
	case err != nil:
		return nil, given, fmt.Errorf("requesting a token for %s: %s", old.Account, mirror.Explain(err))
	}
	if !r.Self {
		given.Note = strings.TrimSpace(given.Note + " " + r.By.unidentified())
	}
	r.Kubeconfig.Token = given.Token
	if renewed, err = r.Kubeconfig.Encode(); err != nil {
		return nil, given, err
	}
	if err := preflight.Examine(ctx, r.Remote(renewed)).Err(); err != nil {
		return nil, given, fmt.Errorf("the new token does not work, so the old one stays: %w", err)
	}
	ids, life := kube.ReadToken(given.Token).ID, r.Life
	if r.Self { // if storing the new token fails, the old one must be able to retry
		ids, life = strings.Trim(ids+","+old.ID, ","), 0
	}
	if err := register(ctx, r.By.APIs, old.Namespace, old.Account, ids, life); err != nil {
		err = fmt.Errorf("recording the new token's ID on account %s: %s", old.Account, mirror.Explain(err))
		if r.Self {
			return nil, given, err
		}
		given.Note = strings.TrimSpace(given.Note + " It cannot request its successor: " + err.Error())
	}
	return renewed, given, nil
}

// Check returns an error unless the token in use belongs to an account that fernetcast created. With
// the operator's permissions, that is only this main region's own account, and the stored kubeconfig
// must lead to the operator's cluster: anyone who can write it could otherwise obtain a token.
func (r Renewal) Check() error {
	old, again := kube.ReadToken(r.Kubeconfig.Token), "; to replace it: fernetcast join "+r.Name
	own := old.Namespace == r.Namespace && old.Account == r.Account
	switch {
	case r.Kubeconfig.Token == "":
		return errors.New("its kubeconfig has a client certificate instead of a token: issue a new certificate and store it manually")
	case old.Account == "":
		return errors.New("its token is not from a ServiceAccount" + again)
	case r.Self && (old.Account == roleName || Own(old.Account)):
		return nil
	case r.Self:
		return fmt.Errorf("its token belongs to account %s, which fernetcast did not create%s", mirror.Printable(old.Account), again)
	case !own:
		return fmt.Errorf("its token belongs to account %s/%s, not to this main region's %s/%s%s", mirror.Printable(old.Namespace), mirror.Printable(old.Account), r.Namespace, r.Account, again)
	case !r.By.confirms(r.Kubeconfig):
		return fmt.Errorf("its kubeconfig has another cluster UID, CA, server name, or address than your context %s, so a new token could be sent to another server%s", r.By.Context, again)
	}
	return nil
}
