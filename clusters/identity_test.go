package clusters

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
)

// mint is a main that makes tokens of an hour, by the model's clock.
type mint struct {
	made atomic.Int32
	down atomic.Bool
	took time.Duration
}

func (m *mint) token(_ context.Context, audience string) (string, error) {
	time.Sleep(m.took)
	if m.down.Load() {
		return "", errors.New("the main is down")
	}
	n, now := m.made.Add(1), time.Now()
	claims := fmt.Sprintf(`{"iss":"https://sjc.example.com","aud":[%q],"jti":"%d","iat":%d,"exp":%d}`, audience, n, now.Unix(), now.Add(time.Hour).Unix())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig", nil
}

// A day: a token is at hand whenever a request needs one, also where the main is down
// for ten minutes now and then, and it is never made by a request but the first.
func TestIdentityForADay(t *testing.T) { synctest.Test(t, testIdentityForADay) }

func testIdentityForADay(t *testing.T) {
	m := &mint{took: 50 * time.Millisecond}
	var log strings.Builder
	i := newIdentity("dfw", "https://10.0.0.5:6443", m.token, slog.New(slog.NewTextHandler(&log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	var kept sync.WaitGroup
	kept.Go(func() { i.keep(ctx) })
	for minute := range 24 * 60 {
		m.down.Store(minute > 0 && minute%100 < 10)
		began := time.Now()
		token, err := i.Token(ctx)
		if err != nil {
			t.Fatalf("minute %d: %v", minute, err)
		}
		if waited := time.Since(began); waited > 0 && minute > 0 {
			t.Errorf("minute %d: the request waited %v for its token", minute, waited)
		}
		if left := time.Until(kube.ReadToken(token).Expires); left < 60*time.Second {
			t.Errorf("minute %d: the token is good for %v more", minute, left)
		}
		time.Sleep(time.Minute - time.Since(began))
	}
	cancel()
	kept.Wait()
	if n := m.made.Load(); n < 24 || n > 36 { // one lives for 42 to 48 minutes, later where the main is down
		t.Errorf("%d tokens were made", n)
	}
	if strings.Contains(log.String(), "e30.") || strings.Count(log.String(), "no new token could be made") > 8 {
		t.Errorf("the log is\n%s", log.String())
	}
}

// Where the main is down for longer than a token lives, a request says so, and the first
// one after that has a token.
func TestIdentityWithoutMain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{}
		i := newIdentity("dfw", "https://10.0.0.5:6443", m.token, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var kept sync.WaitGroup
		kept.Go(func() { i.keep(ctx) })
		first, err := i.Token(ctx)
		must(t, err)
		m.down.Store(true)
		time.Sleep(59 * time.Minute)
		if again, err := i.Token(ctx); again != first || err != nil {
			t.Errorf("after 59 minutes: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if token, err := i.Token(ctx); token != "" || err == nil {
			t.Errorf("after 61 minutes there is a token, or no error: %v", err)
		}
		m.down.Store(false)
		if token, err := i.Token(ctx); token == "" || err != nil {
			t.Errorf("the main is back: %v", err)
		}
		cancel()
		kept.Wait()
	})
}

// After a 401 one token is made anew, for all requests that were refused at once; a
// remote that refuses each one has one a minute made.
func TestIdentityRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{took: time.Second}
		i := newIdentity("dfw", "https://10.0.0.5:6443", m.token, slog.New(slog.DiscardHandler))
		old, err := i.Token(t.Context())
		must(t, err)
		var refused sync.WaitGroup
		for range 5 {
			refused.Go(func() {
				if !i.Refused(t.Context(), old) {
					t.Error("there is no other token")
				}
			})
		}
		refused.Wait()
		if n := m.made.Load(); n != 2 {
			t.Errorf("%d tokens were made", n)
		}
		for range 600 {
			now, err := i.Token(t.Context())
			must(t, err)
			i.Refused(t.Context(), now)
			time.Sleep(time.Second)
		}
		if n := m.made.Load(); n < 10 || n > 13 {
			t.Errorf("%d tokens were made in ten minutes of refusals", n)
		}
		m.down.Store(true)
		time.Sleep(2 * time.Minute)
		now, err := i.Token(t.Context())
		must(t, err)
		if i.Refused(t.Context(), now) {
			t.Error("there is another token, though none could be made")
		}
		m.down.Store(false) // a failure is no reason to wait a minute
		if !i.Refused(t.Context(), now) {
			t.Error("the main is back, and there is no other token")
		}
		if advice := i.Advice(now); advice != "dfw does not trust https://sjc.example.com: fernetcast trust --remote dfw" {
			t.Errorf("the advice is %s", advice)
		}
	})
}

// A kubeconfig without credentials is taken where there is an identity, and only there;
// a token that is kept for it counts for nothing.
func TestKeylessKubeconfig(t *testing.T) {
	file := File{Name: "dfw", Data: kubeconfigOf(t, "user", "token", ""), Token: "kept"}
	set, _ := newSet()
	set.Apply([]File{file})
	if remote, err := set.Remote("dfw"); remote != nil || err == nil || !strings.Contains(err.Error(), "--identity") {
		t.Errorf("without an identity: %v, %v", remote, err)
	}
	m := &mint{}
	set.opts.Mint = m.token
	set.Apply(nil)
	set.Apply([]File{file})
	remote, err := set.Remote("dfw")
	must(t, err)
	if remote.CredentialsExpire() != nil {
		t.Error("it has credentials that expire")
	}
	if cfg, _, err := ParseKubeconfig(file.Data, true); err != nil || !Keyless(cfg) || BearerOf("dfw", cfg, m.token) == nil {
		t.Errorf("it is not keyless: %v", err)
	}
	if cfg, _, err := ParseKubeconfig(kubeconfigOf(t, "", "", nil), true); err != nil || Keyless(cfg) || BearerOf("dfw", cfg, m.token) != nil {
		t.Errorf("one with credentials is keyless, too: %v", err)
	}
}
