package clusters

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"github.com/fernetcast/fernetcast/internal/kubeconfig"
)

// A mint is a main region that issues one-hour tokens, by the bubble's clock.
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

// For a day, a request per minute gets a valid token, even during ten-minute outages of the main
// region.
func TestIdentityForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{took: 50 * time.Millisecond}
		var log strings.Builder
		tokens := SignIn("dfw", kubeconfig.Config{Server: "https://10.0.0.5:6443"}, m.token, 10*time.Second, slog.New(slog.NewTextHandler(&log, nil))).Tokens
		waits := 0
		for minute := range 24 * 60 {
			m.down.Store(minute > 0 && minute%100 < 10)
			began := time.Now()
			token, err := tokens.Token()
			if err != nil {
				t.Fatalf("minute %d: %v", minute, err)
			}
			if time.Since(began) > 0 {
				waits++
			}
			if left := time.Until(kube.ReadToken(token.AccessToken).Expires); left < 60*time.Second {
				t.Errorf("minute %d: the token is valid for only %v more", minute, left)
			}
			time.Sleep(time.Minute - time.Since(began))
		}
		// A token is used for 42 to 48 minutes, or longer if the main region is down. While the
		// main region is down, one request per minute tries to renew the token, up to ten times.
		if n := m.made.Load(); n < 24 || n > 36 || waits > int(n)+14*10 {
			t.Errorf("%d tokens were issued, and %d requests waited", n, waits)
		}
		if strings.Contains(log.String(), "e30.") || strings.Count(log.String(), "token request failed; keeping the current token") > 14 {
			t.Errorf("the log is\n%s", log.String())
		}
	})
}

func TestIdentityWithoutMain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{}
		tokens := SignIn("dfw", kubeconfig.Config{Server: "https://10.0.0.5:6443"}, m.token, 10*time.Second, slog.New(slog.DiscardHandler)).Tokens
		first, err := tokens.Token()
		must(t, err)
		m.down.Store(true)
		time.Sleep(59*time.Minute + 30*time.Second)
		if again, err := tokens.Token(); err != nil || again.AccessToken != first.AccessToken {
			t.Errorf("half a minute before its end: %v", err)
		}
		time.Sleep(40 * time.Second)
		if token, err := tokens.Token(); token != nil || err == nil {
			t.Errorf("ten seconds after its end there is a token, or no error: %v", err)
		}
		m.down.Store(false)
		if token, err := tokens.Token(); token == nil || err != nil {
			t.Errorf("the main region is back: %v", err)
		}
	})
}

// If a remote rejects every token, only one token is issued per minute.
func TestIdentityRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{}
		tokens := SignIn("dfw", kubeconfig.Config{Server: "https://10.0.0.5:6443"}, m.token, 10*time.Second, slog.New(slog.DiscardHandler)).Tokens
		for range 600 {
			_, err := tokens.Token()
			must(t, err)
			time.Sleep(time.Second)
			tokens.ResetTokenOlderThan(time.Now())
		}
		if n := m.made.Load(); n < 10 || n > 13 {
			t.Errorf("%d tokens were issued in ten minutes in which the remote rejected them all", n)
		}
	})
}

// A kubeconfig without credentials is accepted only with an identity. A separate token is ignored
// for it.
func TestKeylessKubeconfig(t *testing.T) {
	file := File{Name: "dfw", Data: kubeconfigOf(t, ""), Token: "kept"}
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
	if remote.life != nil {
		t.Error("the remote has credentials that expire")
	}
	if cfg, err := kubeconfig.Parse(file.Data, true); err != nil || !cfg.Keyless() || SignIn("dfw", cfg, m.token, time.Second, nil).Tokens == nil {
		t.Errorf("the remote is not keyless: %v", err)
	}
	if cfg, err := kubeconfig.Parse(kubeconfigOf(t, "a-token"), true); err != nil || cfg.Keyless() || SignIn("dfw", cfg, m.token, time.Second, nil).Tokens != nil {
		t.Errorf("a remote with credentials is keyless, too: %v", err)
	}
}
