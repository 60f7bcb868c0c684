package clusters

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

const (
	// A token is minted again once between these two shares of its life have passed.
	renewFrom, renewTo = 0.7, 0.8
	// A remote that refuses each token has this many made at once, and then one in a while.
	mintAtOnce, mintEvery = 2, time.Minute
)

// Mint makes a token for one audience (see [kube.Minter]).
type Mint func(ctx context.Context, audience string) (token string, err error)

// identity makes the tokens by which we sign in at a remote whose kubeconfig has no
// credentials. It is called by client-go's cache of tokens, one call at a time.
type identity struct {
	audience string // the server, as the kubeconfig writes it
	mint     Mint
	timeout  time.Duration // of one token
	log      *slog.Logger

	limit  *rate.Limiter
	token  string
	ends   time.Time
	warned string
}

// SignIn is how to sign in at the cluster of a kubeconfig without credentials; zero for
// one with them. A token may take half of a request's timeout, so that a request is still
// sent with the present token when the main doesn't answer.
func SignIn(remote string, cfg *rest.Config, mint Mint, timeout time.Duration, log *slog.Logger) kube.SignIn {
	if !Keyless(cfg) {
		return kube.SignIn{}
	}
	return kube.SignIn{
		Tokens: transport.NewCachedTokenSource(&identity{audience: cfg.Host, mint: mint, timeout: timeout / 2, log: log, limit: rate.NewLimiter(rate.Every(mintEvery), mintAtOnce)}),
		Advice: fmt.Sprintf("%s does not trust the main's tokens: fernetcast join %s --keyless -o config", remote, remote),
	}
}

// Token implements [oauth2.TokenSource]. While the main makes none, the last one is used
// as long as it lives.
func (i *identity) Token() (*oauth2.Token, error) {
	now := time.Now()
	present := &oauth2.Token{AccessToken: i.token, Expiry: now.Add(mintEvery)}
	if !i.limit.Allow() && now.Before(i.ends) {
		return present, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), i.timeout)
	defer cancel()
	token, err := i.mint(ctx, i.audience)
	switch {
	case err != nil && now.Before(i.ends):
		if err.Error() != i.warned {
			i.warned = err.Error()
			i.log.Warn("no new token could be made", "error", i.warned)
		}
		return present, nil
	case err != nil:
		return nil, err
	}
	i.warned = ""
	// By our own clock alone: the main's may be another.
	life, read := kube.MintedLife, kube.ReadToken(token)
	if granted := read.Expires.Sub(read.Issued); !read.Issued.IsZero() && granted > 0 && granted < life {
		life = granted
	}
	share := renewFrom + (renewTo-renewFrom)*rand.Float64()
	i.token, i.ends = token, now.Add(life)
	return &oauth2.Token{AccessToken: token, Expiry: now.Add(time.Duration(share * float64(life)))}, nil
}
