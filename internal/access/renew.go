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
	"github.com/fernetcast/fernetcast/internal/setup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// third is how much of a token's life is left when it is time for a new one.
const third = 1. / 3

// Renewal is a new token for one remote's account.
type Renewal struct {
	Remote string
	// Kubeconfig is what is stored of the remote.
	Kubeconfig []byte
	// Life is how long the new token is to live.
	Life time.Duration
	Open Open
	// Self says that the token asks for the next one itself.
	Self bool
	// Store keeps the new token, by whichever way.
	Store func(ctx context.Context, kubeconfig []byte, token string) error
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

// Run asks for a token with these rights, uses it, and stores it only then. It returns
// when the token expires, and "" or what there is to say of that. The old token stays
// good.
func (r Renewal) Run(ctx context.Context, by *setup.APIs) (expires time.Time, note string, err error) {
	k, err := kubeconfig.Decode(r.Kubeconfig)
	if err != nil {
		return expires, "", fmt.Errorf("its kubeconfig: %w", err)
	}
	old := kube.ReadToken(k.Token)
	switch {
	case k.Token == "":
		return expires, "", errors.New("its kubeconfig has a certificate and no token: have a new one signed, and store it by hand")
	case old.Account == "":
		return expires, "", errors.New("its token is of no ServiceAccount: let it in again: fernetcast join " + r.Remote)
	case old.Account != roleName && !Own(old.Account):
		return expires, "", fmt.Errorf("its token is of account %s, which is not fernetcast's: let it in again: fernetcast join %s", mirror.Printable(old.Account), r.Remote)
	}
	asked := time.Now()
	token, expires, err := newToken(ctx, by.Core, old.Namespace, old.Account, r.Life)
	switch {
	case apierrors.IsForbidden(err) && r.Self:
		return expires, "", fmt.Errorf("it may not ask for its next token (%s); with an operator's rights: fernetcast join %s --self-renew", mirror.Explain(err), r.Remote)
	case apierrors.IsNotFound(err):
		return expires, "", fmt.Errorf("account %s is not there any more: let it in again: fernetcast join %s", old.Account, r.Remote)
	case err != nil:
		return expires, "", fmt.Errorf("asking for a token of %s: %s", old.Account, mirror.Explain(err))
	}
	renewed, err := kubeconfig.WithToken(r.Kubeconfig, token)
	if err != nil {
		return expires, "", err
	}
	if err := r.use(ctx, renewed); err != nil {
		return expires, "", fmt.Errorf("the new token does not work, so the old one stays: %w", err)
	}
	before, life := "", r.Life
	if r.Self { // until the new one is stored, the old one has to be good for another try
		before, life = old.ID, 0
	}
	note = shortened(asked, expires, r.Life)
	if err := register(ctx, by, kube.ReadToken(token), before, life); err != nil {
		err = fmt.Errorf("writing the new token's id on account %s: %s", old.Account, mirror.Explain(err))
		if r.Self {
			return expires, "", err
		}
		note = strings.TrimSpace(note + " It cannot ask for the next one by itself: " + err.Error())
	}
	if err := r.Store(ctx, renewed, token); err != nil {
		return expires, "", err
	}
	return expires, note, nil
}

// use proves a kubeconfig: its GET has to be a Secret or a real 404.
func (r Renewal) use(ctx context.Context, kubeconfig []byte) error {
	apis, get, err := r.Open(r.Remote, kubeconfig)
	if err != nil {
		return err
	}
	defer apis.Close()
	return answered(ctx, get)
}
