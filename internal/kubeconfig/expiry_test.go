package kubeconfig

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/internal/kube"
	"k8s.io/client-go/rest"
)

// jwt returns a token with this payload and an invalid signature.
func jwt(payload string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2lnbmVk"
}

func TestLifetime(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC) }
	leaf, _ := pairUntil(t, day(10))
	signer, _ := pairUntil(t, day(2))
	endless, _ := pairUntil(t, time.Unix(kube.Never, 0))
	token := func(n int) string {
		data, err := json.Marshal(map[string]int64{"exp": day(n).Unix()})
		if err != nil {
			t.Fatal(err)
		}
		return jwt(string(data))
	}
	for name, c := range map[string]struct {
		token string
		cert  []byte
		want  time.Time // zero means none
	}{
		"neither has one":        {"a-token", nil, time.Time{}},
		"a token":                {token(5), nil, day(5)},
		"a certificate":          {"", leaf, day(10)},
		"the signer's is not":    {"", slices.Concat(leaf, signer), day(10)},
		"the token first":        {token(9), leaf, day(9)},
		"the certificate first":  {token(11), leaf, day(10)},
		"an opaque token":        {"a-token", leaf, day(10)},
		"an endless certificate": {"", endless, time.Time{}},
		"a token, and endless":   {token(9), endless, day(9)},
	} {
		cfg := &rest.Config{BearerToken: c.token, TLSClientConfig: rest.TLSClientConfig{CertData: c.cert}}
		got := LifetimeOf(cfg)
		if (got == nil) != c.want.IsZero() || got != nil && (!got.Expires.Equal(c.want) || got.Expires.Location() != time.UTC) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Credentials are due when a third of their lifetime is left. Without an issue time, the lifetime
// counts as 90 days. A schedule must renew them in the first half of that third.
func TestDue(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for name, c := range map[string]struct {
		token         string
		left          time.Duration // the time from due to expiry
		schedule      string
		weekly, daily bool
	}{
		"90 days":         {`{"iat":1000,"exp":7777000}`, 30 * day, "17 3 * * 1", true, true},
		"42 days":         {`{"iat":1000,"exp":3629800}`, 14 * day, "17 3 * * 1", true, true},
		"41 days":         {`{"iat":1000,"exp":3543400}`, 41 * day / 3, "17 3 * * *", false, true},
		"7 days":          {`{"iat":1000,"exp":605800}`, 56 * hour, "17 3 * * *", false, true},
		"a day":           {`{"iat":1000,"exp":87400}`, 8 * hour, "17 * * * *", false, false},
		"an hour":         {`{"iat":1000,"exp":4600}`, 20 * time.Minute, "* * * * *", false, false},
		"a minute":        {`{"iat":1000,"exp":1060}`, 20 * time.Second, "* * * * *", false, false},
		"unknown":         {`{"exp":8777000}`, 30 * day, "17 3 * * 1", true, true},
		"issued too late": {`{"iat":9000000,"exp":8777000}`, 30 * day, "17 3 * * 1", true, true},
	} {
		l := LifetimeOf(&rest.Config{BearerToken: jwt(c.token)})
		if left := l.Expires.Sub(l.Due); left != c.left {
			t.Errorf("%s: due %s before its expiry", name, left)
		}
		if got := l.Schedule(); got != c.schedule || l.Fits(WeeklyRenewal) != c.weekly || l.Fits("17 3 * * *") != c.daily || !l.Fits("0 0 1 * *") || !l.Fits("") {
			t.Errorf("%s: the schedule is %s", name, got)
		}
	}
}
