package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/mirror"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// Open opens a kubeconfig as run does; the APIs are closed by the caller of Open.
	Open func(kubeconfig []byte) (apis *kube.APIs, get func(context.Context) error, err error)
	// Store keeps the new token, by whichever way.
	Store func(ctx context.Context, kubeconfig []byte, token string) error
}

// Due says whether a token has less than a third of its life left at that time, or does
// not tell.
func Due(token kube.Token, at time.Time) bool {
	left, ok := token.Left(at)
	return ok && left < third
}

// Run asks for a token with these rights, uses it, and stores it only then. It returns
// when the token expires, and "" or what there is to say of that. The old token stays
// good.
func (r Renewal) Run(ctx context.Context, by *kube.APIs) (expires time.Time, note string, err error) {
	k, err := Decode(r.Kubeconfig)
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
	token, expires, err := NewToken(ctx, by.Core, old.Namespace, old.Account, r.Life)
	switch {
	case apierrors.IsNotFound(err):
		return expires, "", fmt.Errorf("account %s is not there any more: let it in again: fernetcast join %s", old.Account, r.Remote)
	case err != nil:
		return expires, "", fmt.Errorf("asking for a token of %s: %s", old.Account, mirror.Explain(err))
	}
	kubeconfig, err := WithToken(r.Kubeconfig, token)
	if err != nil {
		return expires, "", err
	}
	if err := r.use(ctx, kubeconfig); err != nil {
		return expires, "", fmt.Errorf("the new token does not work, so the old one stays: %w", err)
	}
	if err := r.Store(ctx, kubeconfig, token); err != nil {
		return expires, "", err
	}
	return expires, Shortened(asked, expires, r.Life), nil
}

// use proves a kubeconfig: its GET has to be a Secret or a real 404.
func (r Renewal) use(ctx context.Context, kubeconfig []byte) error {
	apis, get, err := r.Open(kubeconfig)
	if err != nil {
		return err
	}
	defer apis.Close()
	if err := get(ctx); err != nil && !apierrors.IsNotFound(err) {
		return errors.New(mirror.Explain(err))
	}
	return nil
}
