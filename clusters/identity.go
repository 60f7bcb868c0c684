package clusters

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

const (
	// A token is minted anew once between these two shares of its life have passed, so
	// that those of many remotes are not minted at once.
	renewFrom, renewTo = 0.7, 0.8
	// mintEvery is how long after a failure, and after a 401, the next one is asked for.
	mintEvery = time.Minute
)

// Mint makes a token for one audience (see [kube.Minter]).
type Mint func(ctx context.Context, audience string) (token string, err error)

// identity is how we sign in at a remote whose kubeconfig has no credentials: by a
// token that the main makes for this one remote, that lives in memory alone, and that is
// made anew before it ends. It implements [kube.Bearer].
type identity struct {
	remote string
	// audience is whom the token is for: the server, as the kubeconfig writes it.
	audience string
	mint     Mint
	log      *slog.Logger

	minting chan struct{} // one at a time; others take its token

	mu       sync.Mutex // guards what follows
	token    string
	due      time.Time // when it is time for the next one
	expires  time.Time
	answered time.Time // when a token was last made because of a 401
	changed  chan struct{}
}

// BearerOf signs in, for one command, at the cluster of a kubeconfig without credentials;
// nil for one with them.
func BearerOf(remote string, cfg *rest.Config, mint Mint) kube.Bearer {
	if !Keyless(cfg) {
		return nil
	}
	return newIdentity(remote, cfg.Host, mint, nil)
}

func newIdentity(remote, audience string, mint Mint, log *slog.Logger) *identity {
	return &identity{remote: remote, audience: audience, mint: mint, log: log, minting: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// Token is the present token; where there is none that is good, a new one.
func (i *identity) Token(ctx context.Context) (string, error) {
	if token := i.present(); token != "" {
		return token, nil
	}
	return i.renew(ctx, "")
}

// present is the present token; "" where there is none, or it has expired.
func (i *identity) present() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Now().After(i.expires) {
		return ""
	}
	return i.token
}

// renew makes a new token, unless somebody else has made one in place of old meanwhile.
func (i *identity) renew(ctx context.Context, old string) (string, error) {
	select {
	case i.minting <- struct{}{}:
		defer func() { <-i.minting }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if token := i.present(); token != "" && token != old {
		return token, nil
	}
	token, err := i.mint(ctx, i.audience)
	if err != nil {
		return "", err
	}
	// By our own clock alone: the main's may be another.
	life, read := kube.MintedLife, kube.ReadToken(token)
	if granted := read.Expires.Sub(read.Issued); !read.Issued.IsZero() && granted > 0 && granted < life {
		life = granted
	}
	share := renewFrom + (renewTo-renewFrom)*rand.Float64()
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	i.token, i.expires, i.due = token, now.Add(life), now.Add(time.Duration(share*float64(life)))
	select {
	case i.changed <- struct{}{}:
	default:
	}
	return token, nil
}

// Refused is told that a token was answered with 401: another one may be taken, where the
// main signs with another key by now. A remote that answers everything so has the main
// make one a minute at most.
func (i *identity) Refused(ctx context.Context, token string) bool {
	i.mu.Lock()
	present, early := i.token, time.Since(i.answered) < mintEvery
	i.mu.Unlock()
	if present != token {
		return true
	}
	if early {
		return false
	}
	if _, err := i.renew(ctx, token); err != nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answered = time.Now()
	return true
}

// Advice is what to do where the remote does not take the token.
func (i *identity) Advice(token string) string {
	return fmt.Sprintf("%s does not trust %s: fernetcast trust --remote %s", i.remote, kube.ReadToken(token).Issuer, i.remote)
}

// keep makes each next token when it is time, so that no request waits for it, until ctx
// is done. The first one is made by the first request.
func (i *identity) keep(ctx context.Context) {
	warned := ""
	for {
		if _, due := i.next(); !i.sleep(ctx, due) {
			return
		}
		token, due := i.next()
		if due.IsZero() || time.Now().Before(due) { // another was made meanwhile
			continue
		}
		_, err := i.renew(ctx, token)
		switch {
		case err == nil:
			warned = ""
			continue
		case ctx.Err() != nil:
			return
		case err.Error() != warned:
			warned = err.Error()
			i.log.Warn("no new token could be made", "error", warned)
		}
		i.mu.Lock()
		i.due = time.Now().Add(wait.Jitter(mintEvery, 0.2))
		i.mu.Unlock()
	}
}

func (i *identity) next() (token string, due time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.token, i.due
}

// sleep waits until that time, or until there is another token; false where ctx is done.
// Without a token it waits for one.
func (i *identity) sleep(ctx context.Context, until time.Time) bool {
	var timer <-chan time.Time
	if !until.IsZero() {
		timer = time.After(time.Until(until))
	}
	select {
	case <-ctx.Done():
		return false
	case <-i.changed:
	case <-timer:
	}
	return true
}
