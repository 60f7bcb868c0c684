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

func TestExpiry(t *testing.T) {
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
		got := Expiry(cfg)
		if (got == nil) != c.want.IsZero() || got != nil && (!got.Equal(c.want) || got.Location() != time.UTC) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
