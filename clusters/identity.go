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
	// A token is renewed at a random point between these fractions of its lifetime.
	renewFrom, renewTo = 0.7, 0.8
	// If a remote rejects every token, this many are issued at once, and then one in each interval.
	mintAtOnce, mintEvery = 2, time.Minute
)

// A Mint requests a token for one audience from the main region. Package setup implements it.
type Mint func(ctx context.Context, audience string) (token string, err error)

// A minted source issues the tokens for a remote whose kubeconfig has no credentials. client-go's
// token cache calls it from one goroutine at a time.
type minted struct {
	audience string // the server's address as written in the kubeconfig
	mint     Mint
	timeout  time.Duration // the timeout for one token
	log      *slog.Logger

	limit   *rate.Limiter
	token   string
	ends    time.Time
	trouble logonce.Text
}

// SignIn returns the tokens for a remote whose kubeconfig has no credentials. If the kubeconfig has
// credentials, it returns the zero SignIn. timeout is the timeout of the requests to the remote.
func SignIn(remote string, cfg kubeconfig.Config, mint Mint, timeout time.Duration, log *slog.Logger) kube.SignIn {
	if !cfg.Keyless() {
		return kube.SignIn{}
	}
	return kube.SignIn{
		Tokens: cached{transport.NewCachedTokenSource(&minted{audience: cfg.Server, mint: mint, timeout: timeout, log: log, limit: rate.NewLimiter(rate.Every(mintEvery), mintAtOnce)})},
		Advice: fmt.Sprintf("%s does not trust the main region's tokens: fernetcast join %s --keyless --server %s -o config", remote, remote, mirror.Quote(cfg.Server)),
	}
}

// A cached source keeps a remote's token. If renewal fails, client-go's cache would hide the error
// and keep using an expired token. So an error is passed through the cache as an empty token.
type cached struct {
	transport.ResettableTokenSource
}

// failure is the key under which an empty token holds its error.
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

// Token implements [oauth2.TokenSource]. If no new token is available, it returns the last one
// until that expires. In this case, an attempt takes at most half of a request's timeout, so that
// there is time left to send the waiting request.
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
			m.log.Warn("token request failed; keeping the current token", "error", err.Error())
		}
		return present, nil
	case err != nil:
		return new(oauth2.Token).WithExtra(map[string]any{failure: err}), nil
	}
	m.trouble = logonce.Text{}
	// Use only our own clock, because the main region's can differ.
	life, read := kube.MintedLife, kube.ReadToken(token)
	if granted := read.Expires.Sub(read.Issued); !read.Issued.IsZero() && granted > 0 && granted < life {
		life = granted
	}
	share := renewFrom + (renewTo-renewFrom)*rand.Float64()
	m.token, m.ends = token, now.Add(life)
	return &oauth2.Token{AccessToken: token, Expiry: now.Add(time.Duration(share * float64(life)))}, nil
}
