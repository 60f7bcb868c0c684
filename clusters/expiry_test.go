package clusters

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// jwt makes a token of a payload, which nobody has signed.
func jwt(payload string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2lnbmVk"
}

func TestTokenExpiry(t *testing.T) {
	const at = 1795000000
	padded := "e30." + base64.URLEncoding.EncodeToString([]byte(`{"exp": 1795000000}`)) + ".e30"
	for token, want := range map[string]int64{
		jwt(`{"iss":"kubernetes","exp":1795000000,"kubernetes.io":{"namespace":"openstack"}}`): at,
		jwt(`{"exp":1795000000.75}`):        at,
		jwt(`{"exp":1.795e9}`):              at,
		jwt(`{"sub":"é?~","exp":1}`):        1,
		padded:                              at,
		jwt(`{"exp":253402300798}`):         253402300798, // the last second of 9999 but one
		jwt(`{"exp":253402300799}`):         0,
		jwt(`{"exp":9223372036854775808}`):  0,
		jwt(`{"exp":1e30}`):                 0,
		jwt(`{"exp":1e999}`):                0,
		jwt(`{"exp":-1}`):                   0,
		jwt(`{"exp":-1e30}`):                0,
		jwt(`{"exp":0}`):                    0,
		jwt(`{"exp":"1795000000"}`):         0,
		jwt(`{"exp":null}`):                 0,
		jwt(`{"exp":[1795000000]}`):         0,
		jwt(`{"EXP":1795000000}`):           0, // another claim
		jwt(`{"exp":1795000000`):            0,
		jwt(`{}`):                           0,
		jwt(`[1795000000]`):                 0,
		jwt(``):                             0,
		jwt(`{"exp":1795000000}`) + ".more": 0,
		"e30.*.e30":                         0,
		"..":                                0,
		"eyJleHAiOjE3OTUwMDAwMDB9":          0, // a payload alone
		"a-token":                           0,
		"":                                  0,
	} {
		got, ok := tokenExpiry(token)
		if ok != (want != 0) || ok && !got.Equal(time.Unix(want, 0)) {
			t.Errorf("%q: %v, %v; want %d", token, got, ok, want)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC) }
	leaf, _ := pairUntil(t, day(10))
	signer, _ := pairUntil(t, day(2))
	endless, _ := pairUntil(t, time.Unix(never, 0))
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
		want  time.Time // zero: none
	}{
		"neither says":            {"a-token", nil, time.Time{}},
		"a token":                 {token(5), nil, day(5)},
		"a certificate":           {"", leaf, day(10)},
		"the signer's is not":     {"", slices.Concat(leaf, signer), day(10)},
		"the token first":         {token(9), leaf, day(9)},
		"the certificate first":   {token(11), leaf, day(10)},
		"a token that is no JWT":  {"a-token", leaf, day(10)},
		"a certificate for ever":  {"", endless, time.Time{}},
		"a token beside for ever": {token(9), endless, day(9)},
	} {
		cfg := &rest.Config{BearerToken: c.token, TLSClientConfig: rest.TLSClientConfig{CertData: c.cert}}
		got := expiry(cfg)
		if (got == nil) != c.want.IsZero() || got != nil && (!got.Equal(c.want) || got.Location() != time.UTC) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A renewed token is a new client, and a file that is refused leaves the time of
// the client that stays in use.
func TestSetSaysWhenCredentialsExpire(t *testing.T) {
	set, _ := newSet()
	for _, c := range []struct {
		file []byte
		want int64
	}{
		{kubeconfigOf(t, "user", "token", jwt(`{"exp":1795000000}`)), 1795000000},
		{[]byte("{}"), 1795000000},
		{kubeconfigOf(t, "user", "token", jwt(`{"exp":1796000000}`)), 1796000000},
	} {
		set.Apply([]File{{Name: "dfw", Data: c.file}})
		if remote, _ := set.Remote("dfw"); remote == nil || remote.CredentialsExpire() == nil || remote.CredentialsExpire().Unix() != c.want {
			t.Errorf("%s: not %d", c.file, c.want)
		}
	}
}
