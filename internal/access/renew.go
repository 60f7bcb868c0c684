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
	// Kubeconfig is the stored kubeconfig. Token is the token in use.
	Kubeconfig []byte
	Token      string
	// Life is the lifetime to request.
	Life time.Duration
	// Remote returns the remote as accessed through a kubeconfig.
	Remote func(kubeconfig []byte) preflight.Remote
	// Self means that the token in use requests its own successor.
	Self bool
}

// Kept returns why the token in use need not be renewed, and when it expires. It returns "" if the
// token is due.
func (r Renewal) Kept(at time.Time) (why string, expires *time.Time) {
	token := kube.ReadToken(r.Token)
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

// register annotates the account with the IDs of the tokens that may request a successor, which
// manifests/remote/self-renew enforces: this token and, unless before is "", the previous one. life
// is the longest lifetime that they may request. 0 leaves the limit unchanged.
func register(ctx context.Context, by *setup.APIs, token kube.Token, before string, life time.Duration) error {
	ids := token.ID
	if before != "" {
		ids += "," + before
	}
	annotations := map[string]string{"fernetcast/token-ids": ids}
	if life > 0 {
		annotations["fernetcast/token-seconds"] = strconv.Itoa(int(life / time.Second))
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err != nil {
		return err
	}
	_, err = by.Core.ServiceAccounts(token.Namespace).Patch(ctx, token.Account, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "fernetcast-renew"})
	return err
}

// Make requests a token with the permissions of by and verifies that it works. It returns the
// kubeconfig with the new token. The old token stays valid, and nothing is stored.
func (r Renewal) Make(ctx context.Context, by *setup.APIs) (renewed []byte, given Grant, err error) {
	old, err := r.old()
	if err != nil {
		return nil, given, err
	}
	given, err = newToken(ctx, by.Core, old.Namespace, old.Account, r.Life)
	switch {
	case apierrors.IsForbidden(err) && r.Self:
		return nil, given, fmt.Errorf("it may not request its successor (%s); to permit it: fernetcast join %s --self-renew", mirror.Explain(err), r.Name)
	case apierrors.IsNotFound(err):
		return nil, given, fmt.Errorf("account %s no longer exists; to recreate it: fernetcast join %s", old.Account, r.Name)
	case err != nil:
		return nil, given, fmt.Errorf("requesting a token for %s: %s", old.Account, mirror.Explain(err))
	}
	if renewed, err = kubeconfig.WithToken(r.Kubeconfig, given.Token); err != nil {
		return nil, given, err
	}
	if err := preflight.Examine(ctx, r.Remote(renewed)).Err(); err != nil {
		return nil, given, fmt.Errorf("the new token does not work, so the old one stays: %w", err)
	}
	before, life := "", r.Life
	if r.Self { // if storing the new token fails, the old one must be able to retry
		before, life = old.ID, 0
	}
	if err := register(ctx, by, kube.ReadToken(given.Token), before, life); err != nil {
		err = fmt.Errorf("recording the new token's ID on account %s: %s", old.Account, mirror.Explain(err))
		if r.Self {
			return nil, given, err
		}
		given.Note = strings.TrimSpace(given.Note + " It cannot request its successor: " + err.Error())
	}
	return renewed, given, nil
}

// old parses the token in use. It returns an error unless the token belongs to an account that
// fernetcast created.
func (r Renewal) old() (kube.Token, error) {
	old := kube.ReadToken(r.Token)
	switch {
	case r.Token == "":
		return old, errors.New("its kubeconfig has a client certificate instead of a token: issue a new certificate and store it manually")
	case old.Account == "":
		return old, errors.New("its token is not from a ServiceAccount; to replace it: fernetcast join " + r.Name)
	case old.Account != roleName && !Own(old.Account):
		return old, fmt.Errorf("its token belongs to account %s, which fernetcast did not create; to replace it: fernetcast join %s", mirror.Printable(old.Account), r.Name)
	}
	return old, nil
}
