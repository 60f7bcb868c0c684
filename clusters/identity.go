package clusters

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
	"github.com/fernetcast/fernetcast/internal/logonce"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"
	"k8s.io/client-go/transport"
)

const (
	// A token is minted again once between these two shares of its life have passed.
	renewFrom, renewTo = 0.7, 0.8
	// A remote that refuses each token has this many made at once, and then one in a while.
	mintAtOnce, mintEvery = 2, time.Minute
)

// Mint makes a token for one audience. Package setup has the implementation.
type Mint func(ctx context.Context, audience string) (token string, err error)

// minted makes the tokens to sign in with at a remote whose kubeconfig has no credentials.
// client-go's cache of tokens calls it, one call at a time.
type minted struct {
	audience string // the server, as the kubeconfig writes it
	mint     Mint
	timeout  time.Duration // of one token
	log      *slog.Logger

	limit   *rate.Limiter
	token   string
	ends    time.Time
	trouble logonce.Text
}

// SignIn is how to sign in at the cluster of a kubeconfig without credentials; zero for
// one with them. The timeout is a request's.
func SignIn(remote string, cfg kubeconfig.Config, mint Mint, timeout time.Duration, log *slog.Logger) kube.SignIn {
	if !cfg.Keyless() {
		return kube.SignIn{}
	}
	return kube.SignIn{
		Tokens: cached{transport.NewCachedTokenSource(&minted{audience: cfg.Server, mint: mint, timeout: timeout, log: log, limit: rate.NewLimiter(rate.Every(mintEvery), mintAtOnce)})},
		Advice: fmt.Sprintf("%s does not trust the main's tokens: fernetcast join %s --remote-context CONTEXT --keyless --server %s -o config", remote, remote, mirror.Quote(cfg.Server)),
	}
}

// cached keeps a remote's token. If there is no new one, client-go's cache would hide the
// error, and keep using a token that has expired: so the error comes as an empty token.
type cached struct {
	transport.ResettableTokenSource
}

// failure is where an empty token has its error.
const failure = "error"

// Token implements [oauth2.TokenSource].
func (c cached) Token() (*oauth2.Token, error) {
	token, err := c.ResettableTokenSource.Token()
	if err != nil {
		return nil, err
	}
	if err, failed := token.Extra(failure).(error); failed {
		return nil, err
	}
	return token, nil
}

// Token implements [oauth2.TokenSource]. While the main makes none, the last one is used
// as long as it lives: then an attempt takes half of a request's time, so that the request that
// waits for it can still be sent.
func (m *minted) Token() (*oauth2.Token, error) {
	now, timeout := time.Now(), m.timeout
	present := &oauth2.Token{AccessToken: m.token, Expiry: now.Add(mintEvery)}
	lives := now.Before(m.ends)
	if lives {
		timeout /= 2
		if m.ends.Before(present.Expiry) {
			present.Expiry = m.ends
		}
	}
	if !m.limit.Allow() && lives {
		return present, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	token, err := m.mint(ctx, m.audience)
	switch {
	case err != nil && lives:
		if m.trouble.ErrorChanged(err) {
			m.log.Warn("no new token could be made", "error", err.Error())
		}
		return present, nil
	case err != nil:
		return new(oauth2.Token).WithExtra(map[string]any{failure: err}), nil
	}
	m.trouble = logonce.Text{}
	// By our own clock alone: the main's may be another.
	life, read := kube.MintedLife, kube.ReadToken(token)
	if granted := read.Expires.Sub(read.Issued); !read.Issued.IsZero() && granted > 0 && granted < life {
		life = granted
	}
	share := renewFrom + (renewTo-renewFrom)*rand.Float64()
	m.token, m.ends = token, now.Add(life)
	return &oauth2.Token{AccessToken: token, Expiry: now.Add(time.Duration(share * float64(life)))}, nil
}
