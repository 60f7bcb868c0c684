package kube

import (
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
)

// jwt returns a token with this payload and an invalid signature.
func jwt(payload string) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2lnbmVk"
}

func TestReadToken(t *testing.T) {
	const at = 1795000000
	padded := "e30." + base64.URLEncoding.EncodeToString([]byte(`{"exp": 1795000000}`)) + ".e30"
	for token, want := range map[string]int64{
		jwt(`{"iss":"kubernetes","exp":1795000000,"kubernetes.io":{"namespace":"openstack"}}`): at,
		jwt(`{"exp":1795000000.75}`):        at,
		jwt(`{"exp":1.795e9}`):              at,
		jwt(`{"sub":"é?~","exp":1}`):        1,
		padded:                              at,
		jwt(`{"exp":253402300798}`):         253402300798, // the second-to-last second of 9999
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
		jwt(`{"EXP":1795000000}`):           0, // claims are case-sensitive
		jwt(`{"exp":1795000000`):            0,
		jwt(`{}`):                           0,
		jwt(`[1795000000]`):                 0,
		jwt(``):                             0,
		jwt(`{"exp":1795000000}`) + ".more": 0,
		"e30.*.e30":                         0,
		"..":                                0,
		"eyJleHAiOjE3OTUwMDAwMDB9":          0, // the token has only a payload
		"a-token":                           0,
		"":                                  0,
	} {
		got := ReadToken(token).Expires
		if got.IsZero() != (want == 0) || want != 0 && !got.Equal(time.Unix(want, 0)) {
			t.Errorf("%q: %v; want %d", token, got, want)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestTokenSaysWhoseItIs(t *testing.T) {
	got := ReadToken(jwt(`{"jti":"9d1f","sub":"system:serviceaccount:openstack:fernetcast-sjc","iat":1000,"exp":1900}`))
	want := Token{ID: "9d1f", Namespace: "openstack", Account: "fernetcast-sjc", Issued: time.Unix(1000, 0).UTC(), Expires: time.Unix(1900, 0).UTC()}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
