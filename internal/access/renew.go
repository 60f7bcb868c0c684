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

// third is how much of a token's life is left when it is time for a new one.
const third = 1. / 3

// Renewal is a new token for one remote's account.
type Renewal struct {
	Name string // of the remote
	// Kubeconfig is what is stored of the remote, Token its present token.
	Kubeconfig []byte
	Token      string
	// Life is how long the new token is to live.
	Life time.Duration
	// Remote is the remote by a kubeconfig.
	Remote func(kubeconfig []byte) preflight.Remote
	// Self says that the token asks for the next one itself.
	Self bool
}

// Due says whether a token has less than a third of its life left at that time, or does
// not tell.
func Due(token kube.Token, at time.Time) bool {
	left, ok := token.Left(at)
	return ok && left < third
}

// register writes on the account which tokens may ask for the next one, by
// manifests/remote/self-renew: this one, and before it, where it is not "", the one in
// use until then. life is the longest that they may ask for; 0 leaves that as it is.
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

// Make asks for a token with the rights of by, and uses it. It returns the kubeconfig with
// the new token. The old token stays good, and nothing is stored.
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
	if r.Self { // until the new one is stored, the old one has to be good for another try
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

// old reads the present token, which has to be one of an account that fernetcast made.
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
