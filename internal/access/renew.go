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

// A Renewal requests a new token for one remote's account.
type Renewal struct {
	Name string // the remote's name
	// Kubeconfig is the stored kubeconfig, with the token in use. It is untrusted.
	Kubeconfig kubeconfig.Config
	// Namespace and Account identify the account that join gives this main region in the remote.
	Namespace, Account string
	// By requests the token. It reaches the remote through the operator's context or, if Self is
	// set, with the token in use.
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

// Kept returns the reason why the credentials in use need no renewal, and when they expire. The
// reason is "" if the credentials are due for renewal or if the remote rejects them. Kept returns
// an error if the remote responds but the credentials don't work, or if they can't be renewed.
func (r Renewal) Kept(ctx context.Context) (why string, expires *time.Time, err error) {
	why = "its credentials have no known expiry"
	if life := kubeconfig.LifetimeOf(r.Kubeconfig.ClientConfig()); life != nil {
		why, expires = "it is due for renewal at "+life.Due.Format(time.RFC3339), &life.Expires
		if time.Now().After(life.Due) {
			return "", nil, r.certificate()
		}
	}
	encoded, err := r.Kubeconfig.Encode()
	if err != nil {
		return "", nil, err
	}
	found := preflight.Examine(ctx, r.Remote(encoded))
	switch err := found.Err(); {
	case found.Of("identity").Result == preflight.Fail:
		return "", nil, r.certificate()
	case err != nil && found.Of("secret").Result == preflight.Fail:
		return "", nil, err
	case err != nil:
		why += "; it could not be tried: " + err.Error()
	}
	return why, expires, nil
}

// certificate returns an error if the kubeconfig has a client certificate instead of a token.
func (r Renewal) certificate() error {
	if r.Kubeconfig.Token != "" {
		return nil
	}
	until := ""
	if life := kubeconfig.LifetimeOf(r.Kubeconfig.ClientConfig()); life != nil {
		until = ", valid until " + life.Expires.Format(time.RFC3339)
	}
	return fmt.Errorf("its kubeconfig has a client certificate%s, and only tokens can be renewed: to store a token instead: fernetcast join %s", until, r.Name)
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
	if _, err = by.Core.ServiceAccounts(namespace).Patch(ctx, account, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "fernetcast-renew"}); err != nil {
		err = fmt.Errorf("recording the token's ID on account %s: %s", account, mirror.Explain(err))
	}
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
	case apierrors.IsUnauthorized(err) && r.Self:
		return nil, given, fmt.Errorf("its token is rejected (401): it expired, or its account was deleted; to replace it: fernetcast renew %s", r.Name)
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
	if r.Self { // if storing the new token fails, the old token must be able to retry
		err = register(ctx, r.By.APIs, old.Namespace, old.Account, strings.Trim(kube.ReadToken(given.Token).ID+","+old.ID, ","), 0)
	}
	return renewed, given, err
}

// Stored lets the new token from Make request its successor, and stops the old token from doing so.
// Call it after the new token is stored. It returns a note for the operator if that fails,
// otherwise "".
func (r Renewal) Stored(ctx context.Context, given Grant) string {
	if r.Self {
		return ""
	}
	if err := register(ctx, r.By.APIs, r.Namespace, r.Account, kube.ReadToken(given.Token).ID, r.Life); err != nil {
		return "It cannot request its successor: " + err.Error()
	}
	return ""
}

// Check returns an error unless the token in use belongs to an account that fernetcast created.
// With the operator's permissions, that is only this main region's own account, and the stored
// kubeconfig must lead to the operator's cluster. Otherwise, anyone who can write the stored
// kubeconfig could obtain a token.
func (r Renewal) Check() error {
	old, again := kube.ReadToken(r.Kubeconfig.Token), "; to replace it: fernetcast join "+r.Name
	own := old.Namespace == r.Namespace && old.Account == r.Account
	switch {
	case r.Kubeconfig.Token == "":
		return r.certificate()
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
